"""A package as one file, `.tar.zst`: written the same to the byte each time, and read as what it is, untrusted.

Nothing is written outside the folder, no link, device or sparse file is made, no name comes twice, and what really
comes out is counted: a header can lie about sizes, and the headers themselves can be the bomb.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import zstandard

from airserve.core.errors import BadPackageError, NotFoundError
from airserve.models.package import MAX_BYTES, MAX_FILES, SIGNATURE_NAME, SUMS_NAME, open_package, safe_name

_CHUNK = 1 << 20
_MAX_HEADER_BYTES = 1 << 16
_MAX_WINDOW_BYTES = 1 << 27


def pack(folder: Path, target: Path) -> Path:
    """Write the package in `folder` to `target`, with its signature where it has one."""
    package = open_package(folder)
    temporary = target.with_name(target.name + ".new")
    compressor = zstandard.ZstdCompressor(level=6)
    extra = [name for name in (SUMS_NAME, SIGNATURE_NAME) if (folder / name).is_file()]
    with (
        temporary.open("wb") as file,
        compressor.stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in (*package.files, *extra):
            entry = tarfile.TarInfo(name)
            entry.size = (folder / name).stat().st_size
            entry.mode = 0o644
            with (folder / name).open("rb") as content:
                tar.addfile(entry, content)
    temporary.replace(target)
    return target


@contextmanager
def unpacked(path: Path, scratch: Path, *, max_bytes: int = MAX_BYTES) -> Iterator[Path]:
    """The folder of the package at `path`: itself, or a `.tar.zst` unpacked below `scratch` while the block runs."""
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist")
    folder = Path(tempfile.mkdtemp(prefix="staging-unpack-", dir=scratch))
    try:
        _unpack(path, folder, max_bytes)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Entry(tarfile.TarInfo):
    """A header that cannot make the reader hold more than a long name: tarfile reads what it announces, whole."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            _refuse_kind(self.name)
        extended = self.type in (
            tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )  # fmt: skip
        if extended and self.size > _MAX_HEADER_BYTES:
            raise BadPackageError("the archive has a header as large as a file")
        entry: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return entry


def _unpack(path: Path, folder: Path, max_bytes: int) -> None:
    left = max_bytes
    try:
        with (
            path.open("rb") as file,
            zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|", tarinfo=_Entry) as tar,
        ):
            for number, entry in enumerate(tar):
                # Folders count too: they are made by the files in them, and a million of them is work for nothing.
                if number >= MAX_FILES or entry.size > left:
                    raise BadPackageError(f"the package is larger than {max_bytes} bytes or {MAX_FILES} files")
                if entry.isdir():
                    continue
                if not entry.isfile() or entry.issparse():
                    _refuse_kind(entry.name)
                left -= entry.size
                target = folder / safe_name(entry.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(entry)
                assert content is not None, "a plain file has content"  # noqa: S101
                with target.open("xb") as out:
                    shutil.copyfileobj(content, out, _CHUNK)
    except FileExistsError:
        raise BadPackageError("the package holds a file twice") from None
    except (tarfile.TarError, zstandard.ZstdError, EOFError, OSError, ValueError, RecursionError) as error:
        raise BadPackageError(f"{path.name} is damaged or no .tar.zst: {error}") from None


def _refuse_kind(name: str) -> NoReturn:
    raise BadPackageError(f"{name[:80]}: only plain files may be in a package, no links or devices")
