"""A chat over HTTP/2, piece by piece; a call's time is that to the first piece, and the rest is read too."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from airserve.client import Client
from benchmarks.link.clients import service
from benchmarks.link.clients.pace import TIMEOUT_S, Seen, play
from benchmarks.link.workloads.chat import TOKENS, Chat


def main(*, stream: bool) -> None:
    """Ask at the workload's pace; without `stream`, a call's time is that to the whole answer."""
    chat = Chat(Path(sys.argv[2]))
    with Client(service.URL, service.KEY, ca=service.CA, http="2", timeout_ms=TIMEOUT_S * 1e3) as client:

        def ask(number: int) -> Seen:
            question = chat.inputs(number)["question"][0].decode()
            wishes: dict[str, Any] = {"max_tokens": TOKENS, "temperature": 0.0}
            if not stream:
                return Seen(bool(client.chat(chat.model, question, **wishes).text), codec="whole")
            pieces = client.chat(chat.model, question, stream=True, **wishes)
            first, began_at = next(pieces, ""), time.monotonic()
            for _ in pieces:
                pass
            return Seen(bool(first), codec="stream", answered_at=began_at)

        play(ask, chat.every_s, chat.at_once)


if __name__ == "__main__":
    main(stream=True)
