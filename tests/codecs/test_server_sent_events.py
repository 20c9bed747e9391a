from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from airserve.codecs.server_sent_events import take_events

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
NOISE = st.sampled_from([": a comment", "event: message", "id: 7", "retry: 10", "datum: no", "nothing"])
NEWLINE = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """An event stream and the data of its events."""
    newline = draw(NEWLINE)
    lines, wanted = [], []
    for _ in range(draw(st.integers(0, 5))):
        data = draw(st.lists(TEXT, max_size=3))
        event = [f"data: {line}" for line in data] + draw(st.lists(NOISE, max_size=2))
        lines += [*draw(st.permutations(event[len(data) :])), *event[: len(data)], ""]
        if data:
            wanted.append("\n".join(data))
    return "".join(line + newline for line in lines).encode(), wanted


def read(parts: list[bytes]) -> list[str]:
    events, rest = [], b""
    for part in parts:
        found, rest = take_events(rest + part)
        events += found
    return events


@given(streams(), st.lists(st.integers(0, 400)))
def test_events_are_the_same_however_the_stream_is_cut(stream: tuple[bytes, list[str]], cuts: list[int]) -> None:
    data, wanted = stream
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[start:end] for start, end in pairwise(places)]
    # A carriage return that ends the stream may be half of a line end; what follows tells.
    assert read([*parts, b": end"]) == wanted


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error_and_what_is_left_is_their_end(data: bytes) -> None:
    events, rest = take_events(data)
    assert data.endswith(rest)
    assert take_events(rest)[0] == []
    assert len(events) <= data.count(b"data")


def test_one_space_behind_the_colon_is_not_data() -> None:
    assert take_events(b"data:  a\ndata:b\ndata\n\n") == ([" a\nb\n"], b"")


def test_an_event_that_was_cut_off_is_not_an_event() -> None:
    assert take_events(b'data: {"a": 1}\n\ndata: {"a"') == (['{"a": 1}'], b'data: {"a"')
