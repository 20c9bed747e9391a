"""The same chat over HTTP/2, and the answer as one piece."""

from __future__ import annotations

from benchmarks.link.clients.chat_stream import main

if __name__ == "__main__":
    main(stream=False)
