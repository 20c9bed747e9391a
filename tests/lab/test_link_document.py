from __future__ import annotations

import json

import msgspec
import pytest

from airserve.lab.link import Direction, GilbertElliott, Link, Opportunities, Radio, Segment, Timeline
from airserve.lab.link_document import from_document, to_document


def test_a_link_comes_back_as_it_was() -> None:
    link = Link(
        "all of it",
        Direction(Timeline((Segment(0, 1e6, 0.02, 0.01), Segment(1, 0, 0.03)), 2.0), 5, True, 0.001, True, 0.5, 0.004),
        Direction(Opportunities((1, 2, 2), 0.01), loss=GilbertElliott(0.1, 0.2)),
        Radio(10, 0.5), 3.0, 1300, "a source", ("a", "b"),
    )  # fmt: skip
    assert from_document(json.loads(json.dumps(to_document(link)))) == link


@pytest.mark.parametrize("document", [{}, {"name": "x", "up": {}, "down": {}}, {"name": "x", "speed": 3}])
def test_what_is_no_link_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        from_document(document)
