"""What a defence is: some text of the source, and the test that fails when the text is taken out."""

from __future__ import annotations

from dataclasses import dataclass

Edit = tuple[str, str, str]
"""A file below src/airserve, a text that stands in it once, and what stands there without the defence."""


@dataclass(frozen=True)
class Defence:
    """In `file` the text `there` is the defence, and `gone` what stands there without it; `test` then fails.

    Where another layer would stop the attack too, `also` takes that out with it. `test` is below tests/, with options.
    """

    attack: str
    file: str
    there: str
    gone: str
    test: str
    also: tuple[Edit, ...] = ()

    @property
    def edits(self) -> tuple[Edit, ...]:
        """All that is taken out."""
        return ((self.file, self.there, self.gone), *self.also)
