"""The package: a folder, or a `.tar.zst` of it, addressed by its content.

    airserve.toml     the manifest
    model.onnx …      weights
    SHA256SUMS        of every other file, in the format of sha256sum(1); its own SHA-256 is the package's address

What comes from outside is not trusted: every file must be listed and match, nothing may lie outside the folder,
nothing may be larger than allowed, and nothing is ever unpickled. Code is for the engine `python` alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import zstandard

from airserve.core.errors import AirserveError, BadPackageError, ConflictError, NotFoundError
from airserve.models.manifest import FILE_NAME, Manifest, check_manifest, parse_manifest, render_manifest

SUMS_NAME = "SHA256SUMS"
MAX_BYTES = 16 << 30
MAX_FILES = 1000
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt")
_CODE = (".py", ".pyc", ".so")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Package:
    """A verified package in `folder`; `address` is the SHA-256 of its SHA256SUMS, in hexadecimal."""

    folder: Path
    manifest: Manifest
    address: str
    files: tuple[str, ...]

    def path(self, file: str) -> Path:
        """Where a file of the package lies."""
        if file not in self.files:
            raise NotFoundError(f"the package has no file '{file}'; it has {', '.join(self.files)}")
        return self.folder / file

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum((self.folder / file).stat().st_size for file in self.files)


def write_package(folder: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> Path:
    """Write a package to `folder`, whole or not at all; the folder must not exist or be empty.

    `files` maps names inside the package to their content, or to files to copy.
    """
    check_manifest(manifest)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"{folder} exists already; choose another place, or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in {**files, FILE_NAME: render_manifest(manifest)}.items():
            target = staging / _safe_name(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, target)
            else:
                target.write_bytes(content)
        sums = "".join(f"{file_hash(staging / name)}  {name}\n" for name in _files_below(staging))
        (staging / SUMS_NAME).write_text(sums)
        open_package(staging)
        staging.chmod(0o755)
        staging.replace(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return folder


def open_package(folder: Path, *, max_bytes: int = MAX_BYTES) -> Package:
    """The package in `folder`, every file verified. Raises `BadPackageError` naming what is wrong."""
    if not folder.is_dir():
        raise NotFoundError(f"{folder} is no package: not a folder")
    sums = _read_small(folder, SUMS_NAME)
    listed = _parse_sums(sums)
    present = set(_files_below(folder)) - {SUMS_NAME}
    if missing := sorted(set(listed) - present):
        raise BadPackageError(f"files are missing from the package: {', '.join(missing[:5])}")
    if extra := sorted(present - set(listed)):
        raise BadPackageError(f"files are not listed in {SUMS_NAME}: {', '.join(extra[:5])}")
    if sum((folder / name).stat().st_size for name in listed) > max_bytes:
        raise BadPackageError(f"the package is larger than {max_bytes} bytes, the most that is allowed")
    for name, digest in listed.items():
        if name.lower().endswith(_PICKLES):
            raise BadPackageError(f"{name}: pickled weights can run code when they are loaded; export to ONNX instead")
        if file_hash(folder / name) != digest:
            raise BadPackageError(f"{name} does not match its checksum: damaged or changed; get the package again")
    manifest = parse_manifest(_read_small(folder, FILE_NAME))
    if manifest.engine != "python" and (code := next((name for name in listed if name.endswith(_CODE)), None)):
        raise BadPackageError(f"{code}: only a package with engine 'python' holds code")
    for variant in manifest.variants:
        if variant.file not in listed:
            raise BadPackageError(f"variant '{variant.name}' names the file '{variant.file}', which is not there")
    if manifest.text is not None and manifest.text.tokenizer not in listed:
        raise BadPackageError(f"[text] names the tokenizer '{manifest.text.tokenizer}', which is not there")
    return Package(folder, manifest, hashlib.sha256(sums).hexdigest(), tuple(sorted(listed)))


def pack(folder: Path, target: Path) -> Path:
    """Write the package in `folder` to `target`, a `.tar.zst` that is the same, to the byte, each time."""
    package = open_package(folder)
    temporary = target.with_name(target.name + ".new")
    compressor = zstandard.ZstdCompressor(level=6)
    with (
        temporary.open("wb") as file,
        compressor.stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in (*package.files, SUMS_NAME):
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


def _unpack(path: Path, folder: Path, max_bytes: int) -> None:
    """Stream, and count what really comes out: a header can lie about sizes."""
    left = max_bytes
    try:
        with (
            path.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for number, entry in enumerate(tar):
                if entry.isdir():
                    continue
                if not entry.isfile():
                    raise BadPackageError(
                        f"{entry.name[:80]}: only plain files may be in a package, no links or devices"
                    )
                if number >= MAX_FILES or entry.size > left:
                    raise BadPackageError(f"the package is larger than {max_bytes} bytes or {MAX_FILES} files")
                left -= entry.size
                target = folder / _safe_name(entry.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(entry)
                assert content is not None, "a plain file has content"  # noqa: S101
                with target.open("xb") as out:
                    shutil.copyfileobj(content, out, _CHUNK)
    except FileExistsError:
        raise BadPackageError("the package holds a file twice") from None
    except (tarfile.TarError, zstandard.ZstdError, EOFError, OSError) as error:
        raise BadPackageError(f"{path.name} is damaged or no .tar.zst: {error}") from None


def _safe_name(name: str) -> str:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\\" in name or "\0" in name or "\n" in name:
        raise BadPackageError(f"'{name[:80]}' would lie outside the package")
    return str(pure)


def _files_below(folder: Path) -> list[str]:
    names = []
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (Path(root) / name).is_symlink():
                raise BadPackageError(f"{name} is a link; a package holds its files itself")
        names += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    if len(names) > MAX_FILES:
        raise BadPackageError(f"a package has at most {MAX_FILES} files, this one {len(names)}")
    return sorted(names)


def _parse_sums(sums: bytes) -> dict[str, str]:
    listed: dict[str, str] = {}
    for line in sums.decode("utf-8", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise BadPackageError(f"{SUMS_NAME} has a line that is no checksum: '{line[:80]}'")
        name = _safe_name(match[2])
        if name in listed:
            raise BadPackageError(f"{SUMS_NAME} lists '{name}' twice")
        listed[name] = match[1]
    return listed


def _read_small(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file():
        raise BadPackageError(f"{folder} is no package: it has no {name}")
    if path.stat().st_size > _CHUNK:
        raise BadPackageError(f"{name} is larger than {_CHUNK} bytes")
    return path.read_bytes()


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AirserveError(f"{path.name} cannot be read: {error.strerror}") from error
