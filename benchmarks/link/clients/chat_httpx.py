"""The same chat over HTTP/1.1 with `httpx`, piece by piece, as a script without a client library reads it."""

from __future__ import annotations

import ssl
import sys
import time
from pathlib import Path

import httpx

from benchmarks.link.clients import service
from benchmarks.link.clients.pace import TIMEOUT_S, Seen, play
from benchmarks.link.workloads.chat import TOKENS, Chat


def main() -> None:
    """Ask at the workload's pace; a call's time is that to the first piece of text."""
    chat, trust = Chat(Path(sys.argv[2])), ssl.create_default_context(cafile=service.CA)
    with httpx.Client(base_url=service.URL, verify=trust, headers=service.HEADERS, timeout=TIMEOUT_S) as client:

        def ask(number: int) -> Seen:
            question = chat.inputs(number)["question"][0].decode()
            body = {"model": chat.model, "messages": [{"role": "user", "content": question}], "stream": True}
            first_at = None
            with client.stream(
                "POST", "/v1/chat/completions", json={**body, "max_tokens": TOKENS, "temperature": 0.0}
            ) as response:
                response.raise_for_status()
                for line in response.iter_lines():
                    if first_at is None and '"content":"' in line and '"content":""' not in line:
                        first_at = time.monotonic()
            return Seen(first_at is not None, codec="stream", answered_at=first_at)

        play(ask, chat.every_s, chat.at_once)


if __name__ == "__main__":
    main()
