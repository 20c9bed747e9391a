"""A real browser, where the machine has one: Chromium without a window, told what to do over its DevTools protocol.

Source: Chrome DevTools Protocol, domains Runtime, Page, Emulation and Log.
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 60


def executable() -> str | None:
    """Where Chromium is; None on a machine that has none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab. `problems` is what the browser complained of: errors of scripts, and what a policy forbade."""

    def __init__(self, connection: ClientConnection) -> None:
        self.problems: list[str] = []
        self._connection = connection
        self._numbers = itertools.count(1)
        for domain in ("Page", "Runtime", "Log"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its answer."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=_SECONDS))
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> None:
        """Go there, in a window of that size."""
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.tell("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        answer = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until the expression is true, and give its value; of an element, that it is there."""
        expression = f"((value) => value instanceof Node || value)({expression})"
        end = time.monotonic() + _SECONDS
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"{expression}: {self.evaluate('document.body.innerText')} {self.problems}"
            time.sleep(0.05)
        return value

    def screenshot(self, file: Path) -> None:
        """The whole page as a PNG."""
        taken = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(taken["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")


@contextmanager
def opened(folder: Path) -> Iterator[Page]:
    """A browser of its own, whose profile is in `folder`."""
    program = executable()
    assert program is not None
    process = subprocess.Popen(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
         f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with connect(_page_url(process, folder), max_size=None) as connection:
            yield Page(connection)
    finally:
        process.kill()
        process.wait(_SECONDS)


def _page_url(process: subprocess.Popen[bytes], folder: Path) -> str:
    """The address of the first tab, once the browser has written its port."""
    port_file, end = folder / "DevToolsActivePort", time.monotonic() + _SECONDS
    while not (port_file.exists() and port_file.read_text().strip()):
        assert process.poll() is None and time.monotonic() < end, "the browser does not start"
        time.sleep(0.05)
    port = port_file.read_text().split()[0]
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_SECONDS) as answer:
            for each in json.load(answer):
                if each["type"] == "page":
                    return str(each["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise AssertionError("the browser has no tab")
