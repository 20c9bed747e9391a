"""How an engine gets at the files of a package: their bytes, or a path where a library wants one.

Where packages are encrypted at rest the path is of anonymous memory (memfd_create(2)): nothing of it is on a disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from airserve.core.errors import BadPackageError


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with the files of a package; a process that uses it inherits `descriptors` under their numbers."""

    path: Path
    descriptors: tuple[int, ...] = ()


class Files(Protocol):
    """The files of one package. Whatever is given was held against its checksum; `BadPackageError` where it differs."""

    def read(self, name: str) -> bytes:
        """The whole of a file."""
        ...

    def opened(self, name: str) -> AbstractContextManager[Path]:
        """A path that this process can open while the block runs, or map and keep mapped."""
        ...

    def folder(self) -> AbstractContextManager[Folder]:
        """All files in one folder, for as long as the block runs."""
        ...


@dataclass(frozen=True, slots=True)
class PlainFiles:
    """The files of a folder as they are: of a package that this process made, and nobody else could change."""

    root: Path

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise BadPackageError(f"{name} cannot be read: {error.strerror}") from None

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """Where the file lies."""
        yield self.root / name

    @contextmanager
    def folder(self) -> Iterator[Folder]:
        """Where all of them lie."""
        yield Folder(self.root)
