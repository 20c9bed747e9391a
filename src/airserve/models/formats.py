"""What a file really is, by its bytes: anything that could run code when it is loaded is refused, whatever its name.

Pickles (protocols 0 to 5, bare, compressed as joblib does, or inside a zip or tar as PyTorch does), HDF5 and `.keras`
(whose Lambda layers are code), NumPy arrays of objects, and files that are two formats at once. Nothing is ever
unpickled to find out: the opcodes are read (`pickletools`), and a clean look never makes a pickle loadable.
"""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from airserve.core.errors import UnsafeFormatError

_HEAD = 1 << 16
_MAX_MEMBERS = 10_000
_HDF5 = b"\x89HDF\r\n\x1a\n"
# HDF5 looks for its signature at 0, 512, 1024, 2048 … (HDF5 file format specification, "Superblock").
_HDF5_OFFSETS = (0, 512, 1024, 2048, 4096, 8192)
_NUMPY = b"\x93NUMPY"
_ZIP = b"PK\x03\x04"
_CALLING = {"REDUCE", "INST", "OBJ", "BUILD", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
# A header of safetensors can begin with the two bytes of an opcode, and a third that is one.
_ENOUGH = 3
_NEWEST_PROTOCOL = 5
_INSTEAD = "export the model to ONNX, save a scikit-learn estimator with skops.io.dump, keep weights as safetensors"


def refuse_unsafe(path: Path) -> None:
    """Raise `UnsafeFormatError` where the file at `path` is of a format that can run code."""
    with path.open("rb") as file:
        reason = unsafe_reason(file)
    if reason is not None:
        raise UnsafeFormatError(f"{path.name}: {reason}")


def unsafe_reason(file: BinaryIO) -> str | None:
    """Why the open, seekable file may not be loaded, or None. Reads its head and, of an archive, the table."""
    head = file.read(_HEAD)
    for offset in _HDF5_OFFSETS:
        if head[offset : offset + len(_HDF5)] == _HDF5:
            return f"HDF5, in which Keras keeps code (Lambda layers); {_INSTEAD}"
    reason = _unsafe_bytes(head)
    if reason is not None:
        return reason
    return _zip_reason(file, head) or _tar_reason(file, head)


def _unsafe_bytes(head: bytes, *, nested: bool = False) -> str | None:
    """The same for the first bytes of a file, or of a part of one."""
    if head.startswith(_NUMPY):
        return _numpy_reason(head)
    if is_pickle(head):
        return f"a pickle can run any code when it is loaded; {_INSTEAD}"
    if not nested and (inner := _decompressed(head)) and _unsafe_bytes(inner, nested=True):
        return f"a compressed pickle, as joblib writes it, can run any code when it is loaded; {_INSTEAD}"
    return None


def is_pickle(head: bytes) -> bool:
    """Whether `head` begins a pickle of protocol 2 or later, or one of 0 or 1 that would make something or call it.

    An unpickler calls as it reads, so a call counts whatever comes behind it. Values alone in the protocols 0 and 1
    look like text, and run nothing.
    """
    stack: list[bool] = []  # True is a mark
    opcodes, declared = 0, False
    try:
        for opcode, argument, position in pickletools.genops(head):
            if opcode.name == "PROTO" and position == 0:
                declared = isinstance(argument, int) and argument <= _NEWEST_PROTOCOL
            if not _apply(opcode, stack):
                break
            opcodes += 1
            if opcode.name in _CALLING:
                return True
    except Exception as error:
        # No opcode, or a head that was cut amid a long value: what was read until here decides.
        if len(head) == _HEAD and "unknown" not in str(error):
            return declared
    return declared and opcodes >= _ENOUGH


def _apply(opcode: pickletools.OpcodeInfo, stack: list[bool]) -> bool:
    """Do to `stack` what the opcode does to an unpickler's; whether it could."""
    takes = opcode.stack_before
    if pickletools.markobject in takes:
        if True not in stack:
            return False
        mark = len(stack) - 1 - stack[::-1].index(True)
        # OBJ takes its class from behind the mark, the rest may take nothing from there.
        if opcode.name == "OBJ" and mark == len(stack) - 1:
            return False
        del stack[mark:]
        takes = takes[: takes.index(pickletools.markobject)]
    elif opcode.name == "POP" and not stack:
        return False
    if len(stack) < len(takes) or (any(stack[len(stack) - len(takes) :]) and opcode.name != "POP"):
        return False
    del stack[len(stack) - len(takes) :]
    stack += [each is pickletools.markobject for each in opcode.stack_after]
    return True


def _numpy_reason(head: bytes) -> str | None:
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read(stream)
    except Exception:
        return "its NumPy header is damaged; save the array again"
    if dtype.hasobject:
        return "a NumPy array of objects holds a pickle; save numbers, or strings of a fixed width"
    return None


def _decompressed(head: bytes) -> bytes:
    """The beginning of what gzip, zlib, bzip2, xz or lzma holds; empty for anything else. Bounded by `_HEAD`."""
    try:
        if head[:2] == b"\x1f\x8b" or (head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0):
            return zlib.decompressobj(wbits=47).decompress(head, _HEAD)
        if head.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(head, _HEAD)
        if head.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
            return lzma.LZMADecompressor(memlimit=1 << 27).decompress(head, _HEAD)
    except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError, MemoryError):
        pass
    return b""


def _zip_reason(file: BinaryIO, head: bytes) -> str | None:
    """A zip is known by its end, which is how a file can be a zip and something else."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if not members:
                return None
            if not head.startswith(_ZIP):
                return "it is a zip archive behind something else; a file is of one format"
            if len(members) > _MAX_MEMBERS:
                return f"an archive of more than {_MAX_MEMBERS} files"
            names = {member.filename for member in members}
            if {"config.json", "metadata.json"} <= names or "model.weights.h5" in names:
                return f"a .keras archive, whose Lambda layers are code; {_INSTEAD}"
            for member in members:
                if member.filename.endswith((".pkl", ".pickle", ".joblib")):
                    return f"it holds the pickle '{member.filename[-80:]}', which can run any code; {_INSTEAD}"
                with archive.open(member) as inner:
                    if _unsafe_bytes(inner.read(_HEAD)) is not None:
                        return f"'{member.filename[-80:]}' in it is a pickle, which can run any code; {_INSTEAD}"
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, zlib.error, EOFError):
        # Damaged, encrypted or of an unknown method. A zip that cannot be looked into is not taken for one without.
        return "a zip archive that cannot be looked into" if head.startswith(_ZIP) else None
    return None


def _tar_reason(file: BinaryIO, head: bytes) -> str | None:
    """PyTorch before 0.1.10 wrote tars of pickles."""
    if head[257:262] != b"ustar":
        return None
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for number, entry in enumerate(tar):
                inner = tar.extractfile(entry) if entry.isfile() else None
                if number >= _MAX_MEMBERS or (inner is not None and _unsafe_bytes(inner.read(_HEAD)) is not None):
                    return f"a tar archive of pickles, as old PyTorch wrote them; {_INSTEAD}"
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return "a tar archive that cannot be looked into"
    return None
