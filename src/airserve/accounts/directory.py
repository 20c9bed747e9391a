"""The directory: who is behind a key. An immutable snapshot of the database, asked once per call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airserve.accounts.key_format import is_well_formed, key_mac
from airserve.accounts.principal import Principal
from airserve.core.errors import ForbiddenError, MissingKeyError

FOREVER_NS = 1 << 62

__all__ = ["FOREVER_NS", "Directory", "Entry", "Principal"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the directory knows of one key.

    `principals` are who it is from which moment on: the plan of its tenant may change at a time that is known already.
    The first is from the beginning of time.
    """

    principals: Sequence[tuple[int, Principal]]
    not_before_ns: int = 0
    expires_ns: int = FOREVER_NS
    revoked: bool = False
    replaced_by: str | None = None
    tenant_status: str = "active"
    archived: bool = False

    def at(self, now_ns: int) -> Window:
        """Who the key is at this moment, and until when that holds. Raises a refusal where it is nobody."""
        if self.revoked:
            raise MissingKeyError("this API key was revoked; ask for a new one")
        if now_ns < self.not_before_ns:
            raise MissingKeyError("this API key is not valid yet; use it later, or ask for another")
        if now_ns >= self.expires_ns:
            if self.replaced_by:
                raise MissingKeyError(f"this API key was replaced by {self.replaced_by}… and has ended; use that one")
            raise MissingKeyError("this API key has expired; ask for a new one")
        if self.tenant_status != "active":
            raise ForbiddenError(f"this account is {self.tenant_status}; ask the operator")
        if self.archived:
            raise ForbiddenError("the project of this API key is archived; ask for a key of another project")
        started = [place for place, (from_ns, _) in enumerate(self.principals) if from_ns <= now_ns]
        current = started[-1] if started else 0
        from_ns, principal = self.principals[current]
        until_ns = self.principals[current + 1][0] if current + 1 < len(self.principals) else FOREVER_NS
        return Window(principal, max(from_ns, self.not_before_ns), min(until_ns, self.expires_ns))


@dataclass(frozen=True, slots=True)
class Window:
    """A principal, and the span of time in which it is who calls."""

    principal: Principal
    from_ns: int
    until_ns: int


class Directory:
    """Every key by the MAC of its whole text. Nothing is ever looked up by a part of a key.

    A key that was found is remembered, whole, for as long as this snapshot lives and its window lasts: the MAC is
    computed once per snapshot, not once per call, which also spares the event loop a call that lets go of the
    interpreter lock.
    """

    __slots__ = ("_entries", "_found", "_pepper")

    def __init__(self, entries: Mapping[bytes, Entry], pepper: bytes) -> None:
        self._entries = entries
        self._pepper = pepper
        self._found: dict[str, Window] = {}

    def authenticate(self, presented: str, now_ns: int) -> Principal:
        """The principal behind a key. Raises `MissingKeyError`, or `ForbiddenError` for a suspended tenant."""
        window = self._found.get(presented)
        if window is not None and window.from_ns <= now_ns < window.until_ns:
            return window.principal
        window = self._find(presented).at(now_ns)
        self._found[presented] = window
        return window.principal

    def _find(self, presented: str) -> Entry:
        if not presented:
            raise MissingKeyError("no API key; send it as 'Authorization: Bearer as_live_…'")
        if not is_well_formed(presented):
            raise MissingKeyError("this is no Airserve API key: mistyped or cut off; copy it again, whole")
        entry = self._entries.get(key_mac(presented, self._pepper))
        if entry is None:
            raise MissingKeyError("this API key is not known here; ask for a new one")
        return entry
