"""Links as text: the name of a profile, a constant link in one line, or a file.

A file is JSON, or the same keys in TOML, with the version of the format in `airserve_link`. The segments of a timeline
stand in columns: `start_s`, `rate_bps`, `delay_s` and, where packets are lost, `loss`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from airserve.core.errors import BadTraceError, InvalidInputError
from airserve.lab.constant_link import constant_link
from airserve.lab.link import Link
from airserve.lab.link_checks import check_link
from airserve.lab.link_document import from_document, to_document
from airserve.lab.profiles import names, profile

VERSION = 1
MAX_FILE_BYTES = 256 << 20
_COLUMNS = ("start_s", "rate_bps", "delay_s", "loss")


def load_link(text: str | Path, seed: int = 0) -> Link:
    """Make a link from a profile's name, a constant such as `up=10,down=50,rtt=60,loss=1`, or the path of a link file.

    In a constant, rates are Mbit/s, times milliseconds, losses percent. `seed` is the profile's.
    Raises InvalidInputError for what is none of these, BadTraceError for a file that cannot be read as a link.
    """
    asked = str(text)
    if asked in names():
        return profile(asked, seed)
    if Path(asked).is_file():
        return read_link(Path(asked))
    if "=" in asked:
        return constant_link(asked)
    raise InvalidInputError(
        f"'{asked}' is no link: say a profile ({', '.join(names())}), a file, or e.g. up=10,down=50,rtt=60."
    )


def save_link(link: Link, path: Path) -> None:
    """Write a link file in JSON. Raises InvalidInputError for a name that ends in `.toml`."""
    if path.suffix == ".toml":
        raise InvalidInputError(f"link files are written in JSON; give {path.stem}.json.")
    document: dict[str, Any] = {"airserve_link": VERSION, **to_document(link)}
    for way in ("up", "down"):
        document[way]["capacity"] = _to_columns(document[way]["capacity"])
    path.write_bytes(msgspec.json.encode(document) + b"\n")


def read_link(path: Path) -> Link:
    """Read a link file, in TOML if its name ends so, else in JSON. Raises BadTraceError with the place of the fault."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BadTraceError(f"{path.name} is larger than {MAX_FILE_BYTES >> 20} MiB.")
    data = path.read_bytes()
    try:
        document: Any = tomllib.loads(data.decode()) if path.suffix == ".toml" else msgspec.json.decode(data)
        if not isinstance(document, dict) or document.pop("airserve_link", None) != VERSION:
            raise BadTraceError(
                f"{path.name} is no link file of version {VERSION}; make one with `airserve lab import {path.name}`."
            )
        for way in ("up", "down"):
            if isinstance(document.get(way), dict):
                document[way]["capacity"] = _from_columns(way, document[way].get("capacity"))
        link = from_document(document)
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadTraceError(f"{path.name} cannot be read as a link: {error}.") from error
    check_link(link)
    return link


def _to_columns(capacity: dict[str, Any]) -> dict[str, Any]:
    segments = capacity.get("segments")
    if segments is None:
        return capacity
    columns = {name: [segment[name] for segment in segments] for name in _COLUMNS}
    if not any(columns["loss"]):
        del columns["loss"]
    return {"period_s": capacity["period_s"], **columns}


def _from_columns(way: str, capacity: Any) -> Any:
    """The capacity as a document has it; what is no timeline in columns is left for the document's own checks."""
    if not isinstance(capacity, dict) or "start_s" not in capacity:
        return capacity
    unknown = capacity.keys() - {"period_s", *_COLUMNS}
    if unknown:
        raise BadTraceError(f"{way}: a timeline has no column `{min(unknown)}`.")
    columns = {name: capacity[name] for name in _COLUMNS if name in capacity}
    if not all(isinstance(column, list) for column in columns.values()):
        raise BadTraceError(f"{way}: start_s, rate_bps, delay_s and loss must be lists.")
    if len({len(column) for column in columns.values()}) > 1:
        raise BadTraceError(f"{way}: start_s, rate_bps, delay_s and loss must be equally long.")
    segments = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"segments": segments, "period_s": capacity.get("period_s")}
