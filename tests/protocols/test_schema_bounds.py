from __future__ import annotations

from typing import Any

import pytest

from airserve.protocols.openai.errors import ParameterError
from airserve.protocols.openai.schema_bounds import MAX_ALTERNATIVES, check_schemas


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": ["a"] * (MAX_ALTERNATIVES + 1)},
        {"properties": {f"p{number}": {} for number in range(MAX_ALTERNATIVES + 1)}},
        {"items": {"anyOf": [{"oneOf": [{}] * 50}] * 11}},
        {"$defs": {"a": {"prefixItems": [{}] * 300}, "b": {"allOf": [{}] * 300}}},
    ],
)
def test_alternatives_are_counted_wherever_they_stand(schema: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="at most 500") as refused:
        check_schemas([schema], "response_format")
    assert refused.value.param == "response_format"


def test_schemas_of_a_usual_size_and_odd_ones_pass() -> None:
    check_schemas(
        [{"properties": {"a": {"enum": list(range(400))}, "enum": {"type": "string"}}}, None, {"enum": 5}], "x"
    )
