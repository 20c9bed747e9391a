"""Files encrypted at rest: AES-256-GCM in chunks of 1 MiB, bound to where they belong.

    magic "ASE1" | nonce prefix, 7 bytes | chunk 0 | chunk 1 | …            a chunk is ciphertext and a tag of 16 bytes

The nonce of a chunk is the prefix, its number (u32, big-endian) and a byte that is 1 for the last one: the STREAM
construction (Hoang, Reyhanitabar, Rogaway and Vizár, CRYPTO 2015), so that a file whose chunks were cut, swapped or
lengthened does not open. The additional data are the package's address, the file's name and the chunk's number: a chunk
opens nowhere but in its place, so an older version cannot be put where a newer one is asked for. Each file has a key of
its own, HKDF-SHA256 of the package's data key and the name.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airserve.core.errors import BadPackageError

CHUNK = 1 << 20
KEY_BYTES = 32
_MAGIC = b"ASE1"
_PREFIX_BYTES = 7
_TAG_BYTES = 16
_MAX_CHUNKS = 1 << 32
_PLACE = struct.Struct(">IB")


def encrypt(source: BinaryIO, target: BinaryIO, key: bytes, *, address: str, name: str) -> None:
    """Write what is left of `source` to `target`, encrypted under the data key `key` (32 bytes)."""
    cipher, prefix = _cipher(key, address, name), os.urandom(_PREFIX_BYTES)
    target.write(_MAGIC + prefix)
    chunk, number = source.read(CHUNK), 0
    while True:
        following = source.read(CHUNK)
        last = not following
        target.write(cipher.encrypt(_nonce(prefix, number, last), chunk, _data(address, name, number)))
        if last:
            return
        chunk, number = following, number + 1


def decrypted(source: BinaryIO, key: bytes, *, address: str, name: str) -> Iterator[bytes]:
    """The chunks of an encrypted file, each verified before it is given.

    Raises `BadPackageError` where anything was changed, cut off, added or moved; what came before was genuine, and only
    together with the end the whole.
    """
    head = source.read(len(_MAGIC) + _PREFIX_BYTES)
    if len(head) != len(_MAGIC) + _PREFIX_BYTES or not head.startswith(_MAGIC):
        raise BadPackageError(f"{name} in the store is no encrypted file: damaged or replaced; publish the model again")
    cipher, prefix = _cipher(key, address, name), head[len(_MAGIC) :]
    chunk, number = source.read(CHUNK + _TAG_BYTES), 0
    while True:
        following = source.read(CHUNK + _TAG_BYTES)
        last = not following
        try:
            plain = cipher.decrypt(_nonce(prefix, number, last), chunk, _data(address, name, number))
        except (InvalidTag, ValueError):
            raise BadPackageError(
                f"{name} in the store was changed, cut off or moved (chunk {number} does not open); "
                "restore it from a backup or publish the model again"
            ) from None
        yield plain
        if last:
            return
        chunk, number = following, number + 1
        if number >= _MAX_CHUNKS:
            raise BadPackageError(f"{name} in the store is larger than any file can be")


def decrypt(content: bytes, key: bytes, *, address: str, name: str) -> bytes:
    """The whole of an encrypted file that is in memory."""
    return b"".join(decrypted(io.BytesIO(content), key, address=address, name=name))


def _cipher(key: bytes, address: str, name: str) -> AESGCM:
    derived = HKDF(hashes.SHA256(), KEY_BYTES, salt=bytes.fromhex(address), info=b"airserve file\0" + name.encode())
    return AESGCM(derived.derive(key))


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + _PLACE.pack(number, last)


def _data(address: str, name: str, number: int) -> bytes:
    return b"%s\0%s\0%d" % (address.encode(), name.encode(), number)
