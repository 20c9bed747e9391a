"""The package: a folder, or a `.tar.zst` of it, addressed by its content.

    airserve.toml     the manifest
    model.onnx …      weights
    baseline.json     how inputs looked in training, if anybody measured that (`baseline.py`)
    SHA256SUMS        of every other file, in the format of sha256sum(1); its own SHA-256 is the package's address
    airserve.sig.json who signed it, if anybody did (`signature.py`); no part of the address

What comes from outside is not trusted: every file must be listed and match, nothing may lie outside the folder,
nothing may be larger than allowed, and nothing is ever unpickled. Code is for the engine `python` alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from airserve.core.errors import AirserveError, BadPackageError, ConflictError, NotFoundError, UnsafeFormatError
from airserve.models.baseline import BASELINE_NAME, parse_baseline
from airserve.models.formats import refuse_unsafe
from airserve.models.manifest import FILE_NAME, Manifest, check_manifest, parse_manifest, render_manifest

SUMS_NAME = "SHA256SUMS"
SIGNATURE_NAME = "airserve.sig.json"
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
            target = staging / safe_name(name)
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
    listed = parse_sums(sums)
    present = set(_files_below(folder)) - {SUMS_NAME, SIGNATURE_NAME}
    if missing := sorted(set(listed) - present):
        raise BadPackageError(f"files are missing from the package: {', '.join(missing[:5])}")
    if extra := sorted(present - set(listed)):
        raise BadPackageError(f"files are not listed in {SUMS_NAME}: {', '.join(extra[:5])}")
    if sum((folder / name).stat().st_size for name in listed) > max_bytes:
        raise BadPackageError(f"the package is larger than {max_bytes} bytes, the most that is allowed")
    for name, digest in listed.items():
        if name.lower().endswith(_PICKLES):
            raise UnsafeFormatError(
                f"{name}: pickled weights can run code when they are loaded; export to ONNX instead"
            )
        refuse_unsafe(folder / name)
        if file_hash(folder / name) != digest:
            raise BadPackageError(f"{name} does not match its checksum: damaged or changed; get the package again")
    manifest = parse_manifest(_read_small(folder, FILE_NAME))
    if manifest.engine != "python" and (code := next((name for name in listed if name.endswith(_CODE)), None)):
        raise BadPackageError(f"{code}: only a package with engine 'python' holds code")
    for variant in manifest.variants:
        if variant.cascade is None and variant.file not in listed:
            raise BadPackageError(f"variant '{variant.name}' names the file '{variant.file}', which is not there")
    if manifest.text is not None and manifest.text.tokenizer not in listed:
        raise BadPackageError(f"[text] names the tokenizer '{manifest.text.tokenizer}', which is not there")
    if manifest.split is not None and manifest.split.head not in listed:
        raise BadPackageError(f"[split] names the head '{manifest.split.head}', which is not there")
    if BASELINE_NAME in listed:
        parse_baseline((folder / BASELINE_NAME).read_bytes(), manifest)
    return Package(folder, manifest, hashlib.sha256(sums).hexdigest(), tuple(sorted(listed)))


def safe_name(name: str) -> str:
    """`name` as a path inside a package. Raises `BadPackageError` where it would lie outside, or is no name."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\\" in name or "\0" in name or "\n" in name:
        raise BadPackageError(f"'{name[:80]}' would lie outside the package")
    return str(pure)


def _files_below(folder: Path) -> list[str]:
    names = []
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            mode = (Path(root) / name).lstat().st_mode
            if stat.S_ISLNK(mode):
                raise BadPackageError(f"{name} is a link; a package holds its files itself")
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise BadPackageError(f"{name} is a device, pipe or socket; a package holds plain files")
        names += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
        if len(names) > MAX_FILES + 2:
            raise BadPackageError(f"a package has at most {MAX_FILES} files, this one has more")
    return sorted(names)


def parse_sums(sums: bytes) -> dict[str, str]:
    """The SHA-256 of each file that `SHA256SUMS` lists, by its name in the package. Raises `BadPackageError`."""
    listed: dict[str, str] = {}
    for line in sums.decode("utf-8", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise BadPackageError(f"{SUMS_NAME} has a line that is no checksum: '{line[:80]}'")
        name = safe_name(match[2])
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
