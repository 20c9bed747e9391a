"""What an audit finds: one line for each invariant, with the events that differ."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_SHOWN = 20


@dataclass(slots=True)
class Check:
    """One invariant: how many things were compared, how many nano-units differ, and what differs, in words.

    `differs` counts all differences; of `details` at most `MOST_SHOWN` are kept.
    """

    number: str
    claim: str
    compared: int = 0
    difference_nano: int = 0
    differs: int = 0
    details: list[str] = field(default_factory=list)
    note: str = ""

    def differ(self, text: str, nano: int = 0) -> None:
        """Something is not as it should be, by `nano` nano-units."""
        self.differs += 1
        self.difference_nano += abs(nano)
        if len(self.details) < MOST_SHOWN:
            self.details.append(text)

    def equal(self, expected: int, found: int, what: str) -> None:
        """Compare two amounts in nano-units."""
        self.compared += 1
        if expected != found:
            self.differ(f"{what}: {expected} expected, {found} found", expected - found)
