"""Formats of public traces of mobile links, one a file; `read_trace` finds out which one a file has."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from airserve.core.errors import BadTraceError, InvalidInputError, NotFoundError
from airserve.lab.formats import cicv5g, csv_columns, lumos5g, mahimahi, nuttcp, ucc
from airserve.lab.trace import Trace, Way

# In the order in which `auto` tries them.
FORMATS: dict[str, ModuleType] = {
    "ucc": ucc,
    "csv": csv_columns,
    "cicv5g": cicv5g,
    "nuttcp": nuttcp,
    "mahimahi": mahimahi,
    "lumos5g": lumos5g,
}
MAX_FILE_BYTES = 256 << 20
_ONE_WAY = ("mahimahi", "nuttcp")
_UP_WORDS, _DOWN_WORDS = (".up", "uplink", "_ul"), (".down", "downlink", "_dl")


def read_trace(path: Path, kind: str = "auto", way: Way | None = None) -> Trace:
    """Read a trace in the format `kind`, or in the one that it looks like; `way` says which way it was measured.

    Without `way`, the name of the file tells it where a format does not. Raises BadTraceError with the line.
    """
    if kind != "auto" and kind not in FORMATS:
        raise InvalidInputError(f"There is no format '{kind}'. Formats: auto, {', '.join(sorted(FORMATS))}.")
    text = _text(path)
    found = kind if kind != "auto" else next((name for name, part in FORMATS.items() if part.fits(text[:4000])), None)
    if found is None:
        raise BadTraceError(f"{path.name} looks like no format that is known; say which with --format.")
    try:
        trace: Trace = FORMATS[found].read(text, way or _way(path, found))
    except BadTraceError as error:
        raise BadTraceError(f"{path.name} as {found}: {error.message}") from error
    return trace


def _text(path: Path) -> str:
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BadTraceError(f"{path.name} is larger than {MAX_FILE_BYTES >> 20} MiB; cut it into parts.")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadTraceError(f"{path.name} is no text in UTF-8.") from None


def _way(path: Path, kind: str) -> Way:
    if kind == "lumos5g":
        return "down"
    if kind not in _ONE_WAY:
        return "both"
    name = path.name.lower()
    if any(word in name for word in _UP_WORDS):
        return "up"
    if any(word in name for word in _DOWN_WORDS):
        return "down"
    raise BadTraceError(f"{path.name} was measured one way; say which with --way up, --way down or --way both.")
