"""A page of the documentation as one shell session: what its fences say, in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SERVICE_VARIABLES = ("AIRSERVE_URL", "AIRSERVE_HTTP_URL", "AIRSERVE_KEY", "AIRSERVE_OPERATOR_KEY", "AIRSERVE_CA")

# What a fence may be. Commands and Python run; `no-run` is for what a test cannot do, such as `make up`.
RUN = ("console", "python")
SHOWN = ("", "text", "toml", "json", "mermaid", "console no-run", "python no-run")

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)

# Python fences of a page share one namespace, as if typed into one interpreter; what they print is not the answer.
INTERPRETER = """
import os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
names = {"__name__": "__main__"}
for line in sys.stdin:
    file = line.strip()
    exec(compile(open(file).read(), file, "exec"), names)
    print("ok", file=answers, flush=True)
"""


@dataclass(frozen=True, slots=True)
class Fence:
    """One fenced block: its info string, its text, and the line of the page that it starts on."""

    info: str
    text: str
    line: int


def fences(page: str) -> list[Fence]:
    """All fences of a page in Markdown."""
    return [
        Fence(match.group(1).strip(), match.group(2), page.count("\n", 0, match.start()) + 1)
        for match in _FENCE.finditer(page)
    ]


def needs_service(found: list[Fence]) -> bool:
    """Whether what runs speaks of a running service."""
    return any(name in fence.text for fence in found if fence.info in RUN for name in SERVICE_VARIABLES)


def commands(fence: Fence) -> list[str]:
    """The lines behind `$ ` of a console fence, each with its `> ` or backslash continuation; output is left out."""
    found: list[str] = []
    continues = False
    for line in fence.text.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
        elif line.startswith("> ") and found:
            found[-1] += "\n" + line[2:]
        elif continues:
            found[-1] += "\n" + line
        else:
            continue
        continues = line.endswith("\\")
    return found


def script(found: list[Fence], folder: Path) -> str:
    """A bash script that does what the page says; Python fences are written into `folder`."""
    # What a page starts in the background ends with it, also where a command in between fails.
    lines = ["set -eo pipefail", "trap 'jobs -p | xargs -r kill 2>/dev/null' EXIT"]
    if any(fence.info == "python" for fence in found):
        (folder / "interpreter.py").write_text(INTERPRETER)
        lines.append(f"coproc PYTHON {{ exec python {folder}/interpreter.py; }}")
    for fence in found:
        if fence.info == "console":
            for command in commands(fence):
                lines += [f"echo 'the fence at line {fence.line}:' {_quoted(command)} >&2", command]
        elif fence.info == "python":
            file = folder / f"line-{fence.line}.py"
            file.write_text(fence.text)
            lines += [
                f"echo 'the Python fence at line {fence.line}' >&2",
                f'echo {file} >&"${{PYTHON[1]}}"',
                'read -r -u "${PYTHON[0]}"',
            ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
