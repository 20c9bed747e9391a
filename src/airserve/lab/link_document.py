"""A link as JSON and back: how it travels to the processes of the emulator, and how it may be kept in a file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec

from airserve.lab.link import Direction, GilbertElliott, Link, Opportunities, Radio, Timeline


def to_document(link: Link) -> dict[str, Any]:
    """The link as values that JSON has."""
    return asdict(link)


def from_document(document: dict[str, Any]) -> Link:
    """The link of a document; raises `msgspec.ValidationError` with the field where it does not fit."""
    plain = {key: value for key, value in document.items() if key not in ("up", "down", "radio")}
    radio = document.get("radio")
    return msgspec.convert(plain, _Rest).link(
        up=_direction(document.get("up")),
        down=_direction(document.get("down")),
        radio=None if radio is None else msgspec.convert(radio, Radio),
    )


class _Rest(msgspec.Struct, forbid_unknown_fields=True):
    """What of a link holds no union of data classes, which msgspec cannot tell apart."""

    name: str
    radio_link_failure_s: float = 2.0
    mtu: int = 1400
    source: str = ""
    tags: tuple[str, ...] = ()

    def link(self, up: Direction, down: Direction, radio: Radio | None) -> Link:
        return Link(self.name, up, down, radio, self.radio_link_failure_s, self.mtu, self.source, self.tags)


def _direction(document: Any) -> Direction:
    if not isinstance(document, dict) or not isinstance(document.get("capacity"), dict):
        raise msgspec.ValidationError("a link needs `up` and `down`, each with a `capacity`")
    kinds: dict[str, type[Any]] = {"capacity": Timeline if "segments" in document["capacity"] else Opportunities}
    if isinstance(document.get("loss"), dict):
        kinds["loss"] = GilbertElliott
    fields = {"queue_bytes": int, "codel": bool, "jitter_s": float, "reorders": bool, "loss": float, "grant_s": float}
    unknown = document.keys() - fields.keys() - kinds.keys()
    if unknown:
        raise msgspec.ValidationError(f"a direction has no field `{min(unknown)}`")
    kinds = {**fields, **kinds}
    return Direction(**{name: msgspec.convert(value, kinds[name]) for name, value in document.items()})
