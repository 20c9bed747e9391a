"""A short pass of each fuzz target, the same every time; `make fuzz` is the long one."""

from __future__ import annotations

import pytest

from tests.fuzz.mutations import mutations
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_make_a_decoder_do_worse_than_refuse(name: str) -> None:
    for data in mutations(SEEDS[name], 2000):
        TARGETS[name](data)


@pytest.mark.parametrize("name", ["infer-json", "openai-documents", "grpc-messages", "gguf-header"])
def test_the_seeds_reach_what_they_are_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good input is decoded: a target that refuses all would find nothing."""
    from tests.fuzz import targets

    refused = []

    class Counting:
        def __enter__(self) -> None: ...

        def __exit__(self, kind: object, error: object, trace: object) -> bool:
            refused.append(error)
            return True

    monkeypatch.setattr(targets, "refused_at_most", Counting)
    TARGETS[name](SEEDS[name][0])
    assert None in refused
