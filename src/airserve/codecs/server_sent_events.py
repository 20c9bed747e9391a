"""Server-sent events, as far as OpenAI-compatible servers send them: the data of each event.

Source: WHATWG HTML, 9.2.6 "Interpreting an event stream".
"""

from __future__ import annotations

import re

# A carriage return at the very end may be the first half of a line end.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


def take_events(buffer: bytes) -> tuple[list[str], bytes]:
    """The data of each event that is whole in `buffer`, and the bytes behind the last of them, to be continued.

    Comments, events without data and all fields but `data` are left out. Text that is not UTF-8 is replaced.
    """
    events: list[str] = []
    data: list[bytes] = []
    rest = start = 0
    for end in _LINE_END.finditer(buffer):
        line, start = buffer[start : end.start()], end.end()
        name, _, value = line.partition(b":")
        if not line:
            if data:
                events.append(b"\n".join(data).decode("utf-8", "replace"))
            data, rest = [], start
        elif name == b"data":
            data.append(value.removeprefix(b" "))
    return events, buffer[rest:]
