"""A device bundle: one file with all that a device needs to run a model, or the head of a split one, by itself.

    8 bytes     AIRSDEV1
    4 bytes     length of the head, unsigned little-endian
    the head    JSON: what the model is, and its files with size and SHA-256
    the files   one after the other, in the order of the head, nothing after the last

Nothing in it is code or a pickle. Every file is held against its digest when the bundle is read; whether it is the
bundle that a service offers is told by the SHA-256 of the whole, which the service gives beside it. What is damaged,
cut off or of another format is a `BadPackageError`, and what is over a bound a `TooLargeError`.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from airserve.core.errors import BadPackageError, NotImplementedHereError, TooLargeError
from airserve.core.tensor import NUMPY_OF, Signature, TensorSpec
from airserve.engines.base import Model
from airserve.engines.files import Folder
from airserve.engines.options import Source, Text, Vision

MAX_BYTES = 2 << 30
MAX_HEAD_BYTES = 4 << 20
"""Labels are in the head: a vocabulary of them is small beside that."""
MAX_FILES = 16
_MAGIC = b"AIRSDEV1"
_LENGTH = struct.Struct("<I")
_MAX_AXES = 16


class BundledTensor(msgspec.Struct, frozen=True):
    """An input or output; -1 in `shape` is a free axis, the first being the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class BundledFile(msgspec.Struct, frozen=True):
    """A file of the bundle: its size in bytes, and its SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a bundle says of itself.

    `kind` is "model" for one that answers alone, and "head" for the first part of a split model, whose outputs are the
    features that the tail takes. `address` is the SHA-256 of the package that it was made of. `weights` names the file
    with the graph; `variant` is what its package calls it, empty for a head.
    """

    model: str
    version: int
    address: str
    kind: Literal["model", "head"]
    weights: str
    inputs: tuple[BundledTensor, ...]
    outputs: tuple[BundledTensor, ...]
    variant: str = ""
    max_batch: int = 0
    labels: tuple[str, ...] = ()
    vision: Vision | None = None
    text: Text | None = None
    files: tuple[BundledFile, ...] = ()

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return Signature(
            tuple(TensorSpec(each.name, each.datatype, each.shape) for each in self.inputs),
            tuple(TensorSpec(each.name, each.datatype, each.shape) for each in self.outputs),
            self.max_batch,
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle. `contents` are its files in memory, by their names."""

    head: Head
    contents: Mapping[str, bytes]

    @property
    def source(self) -> Source:
        """What an engine loads it from."""
        return Source(
            folder=Path(),
            file=self.head.weights,
            signature=self.head.signature,
            labels=self.head.labels,
            vision=self.head.vision,
            text=self.head.text,
            model=self.head.model,
            files=FilesInMemory(self.contents),
        )


@dataclass(frozen=True, slots=True)
class FilesInMemory:
    """Files that lie in no folder. Implements `engines.files.Files`."""

    contents: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        if name not in self.contents:
            raise BadPackageError(f"the bundle has no file '{name}'")
        return self.contents[name]

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """A file on the disk with its bytes, while the block runs."""
        with self.folder() as folder:
            path = folder.path / "file"
            path.write_bytes(self.read(name))
            yield path

    @contextmanager
    def folder(self) -> Iterator[Folder]:
        """An empty folder: names in a bundle are no paths."""
        with tempfile.TemporaryDirectory(prefix="airserve-") as place:
            yield Folder(Path(place))


def write_bundle(head: Head, contents: Mapping[str, bytes]) -> bytes:
    """The bundle of `head` with these files; the head's own list of files is made here."""
    listed = tuple(
        BundledFile(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in contents.items()
    )
    text = msgspec.json.encode(msgspec.structs.replace(head, files=listed))
    return b"".join((_MAGIC, _LENGTH.pack(len(text)), text, *contents.values()))


def read_bundle(bundle: bytes | Path, *, max_bytes: int = MAX_BYTES) -> Bundle:
    """The bundle in `bundle`, every file of it verified."""
    if isinstance(bundle, Path):
        try:
            if bundle.stat().st_size > max_bytes:
                raise TooLargeError(f"the bundle is larger than {max_bytes} bytes, the most that is allowed")
            bundle = bundle.read_bytes()
        except OSError as error:
            raise BadPackageError(f"the bundle cannot be read: {error.strerror}") from None
    if len(bundle) > max_bytes:
        raise TooLargeError(f"the bundle is larger than {max_bytes} bytes, the most that is allowed")
    head, start = _read_head(bundle)
    view = memoryview(bundle)
    contents: dict[str, bytes] = {}
    for file in head.files:
        part = view[start : start + file.size]
        if len(part) != file.size or hashlib.sha256(part).hexdigest() != file.sha256:
            raise BadPackageError(f"'{file.name[:80]}' of the bundle does not match its digest; fetch the bundle again")
        contents[file.name] = bytes(part)
        start += file.size
    if start != len(bundle):
        raise BadPackageError("the bundle goes on after its last file; fetch it again")
    return Bundle(head, contents)


def load_bundle(bundle: bytes | Path, *, threads: int, max_bytes: int = MAX_BYTES) -> Model:
    """The model in a bundle, ready to run; that of a head gives the features of its inputs.

    Raises `NotImplementedHereError`, naming the extra, where the packages that run models are not installed.
    """
    read = read_bundle(bundle, max_bytes=max_bytes)
    try:
        if read.head.kind == "head":
            from airserve.engines.split_head import load_head

            return load_head(read.source, threads=threads)
        from airserve.engines.onnx import load

        return load(read.source, threads=threads)
    except ModuleNotFoundError as error:
        raise NotImplementedHereError(
            f"running a model on this device needs {error.name}: pip install 'airserve[device]'"
        ) from None


def _read_head(bundle: bytes) -> tuple[Head, int]:
    start = len(_MAGIC) + _LENGTH.size
    if not bundle.startswith(_MAGIC) or len(bundle) < start:
        raise BadPackageError("this is no bundle for a device, or one of a format that is not known here")
    (length,) = _LENGTH.unpack_from(bundle, len(_MAGIC))
    if length > MAX_HEAD_BYTES:
        raise TooLargeError(f"the bundle's head is larger than {MAX_HEAD_BYTES} bytes")
    try:
        head = msgspec.json.decode(memoryview(bundle)[start : start + length], type=Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadPackageError(f"the bundle's head cannot be read: {str(error)[:200]}") from None
    _check(head)
    return head, start + length


def _check(head: Head) -> None:
    """Refuse what no server writes."""
    names = [file.name for file in head.files]
    needed = {head.weights, *(() if head.text is None else (head.text.tokenizer,))}
    if len(names) > MAX_FILES or len(set(names)) != len(names) or not needed <= set(names):
        raise BadPackageError("the bundle's head does not list each file that the model needs, once")
    if any(file.size < 0 for file in head.files):
        raise BadPackageError("the bundle's head lists a file of less than 0 bytes")
    for tensor in (*head.inputs, *head.outputs):
        if tensor.datatype not in NUMPY_OF or len(tensor.shape) > _MAX_AXES or any(size < -1 for size in tensor.shape):
            raise BadPackageError(f"the bundle's tensor '{tensor.name[:80]}' has no datatype or shape that is known")
    if not head.inputs or not head.outputs or head.max_batch < 0:
        raise BadPackageError("the bundle's model takes or gives nothing")
