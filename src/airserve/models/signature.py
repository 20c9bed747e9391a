"""Who answers for a package: Ed25519 signatures (RFC 8032) over its list of checksums and its manifest.

`airserve.sig.json` is a DSSE envelope (Dead Simple Signing Envelope 1.0) around an in-toto statement (1.0) whose
subjects are SHA256SUMS and airserve.toml, the form that Sigstore's bundles have inside. SHA256SUMS holds the digest of
every other file, so the signature covers the whole package; it is no part of the package's address.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from airserve.core.errors import BadPackageError, ConflictError, InvalidInputError, UnsignedModelError
from airserve.models.manifest import FILE_NAME
from airserve.models.package import SIGNATURE_NAME, SUMS_NAME, Package

PASSPHRASE_VARIABLE = "AIRSERVE_SIGNING_PASSPHRASE"  # noqa: S105  # the name of the variable, not what is in it
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "urn:airserve:package:v1"
_MAX_BYTES = 1 << 18
_PEM_END = b"-----END PUBLIC KEY-----"


class _Signature(msgspec.Struct, frozen=True):
    keyid: str
    sig: str


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


class _Subject(msgspec.Struct, frozen=True):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, rename="camel"):
    type: str = msgspec.field(name="_type")
    subject: tuple[_Subject, ...]
    predicate_type: str
    predicate: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Public keys whose signatures count, by their ids."""

    keys: dict[str, Ed25519PublicKey]

    @classmethod
    def read(cls, files: Iterable[Path]) -> TrustedKeys:
        """The keys in PEM files, one or several in each. Raises `InvalidInputError` naming a file that has none."""
        keys: dict[str, Ed25519PublicKey] = {}
        for file in files:
            found = [public_key(part + _PEM_END, file) for part in _read(file).split(_PEM_END)[:-1]]
            if not found:
                raise InvalidInputError(f"{file} holds no public key in PEM form; airserve signing-key makes a pair")
            keys |= {key_id(key): key for key in found}
        return cls(keys)


def new_key_pair(private_file: Path) -> tuple[Path, str]:
    """Make a key, private in `private_file` (mode 0600), public in the same with `.pub`; that file, and the key's id.

    The private key is encrypted where the variable AIRSERVE_SIGNING_PASSPHRASE is set.
    """
    key = Ed25519PrivateKey.generate()
    public_file = private_file.with_name(private_file.name + ".pub")
    secret = _passphrase()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for file, content, mode in ((private_file, private, 0o600), (public_file, public, 0o644)):
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            raise ConflictError(f"{file} exists already; a key is never overwritten, so choose another name") from None
        with os.fdopen(handle, "wb") as out:
            out.write(content)
    return public_file, key_id(key.public_key())


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """The Ed25519 key in a PEM file (PKCS 8), with the passphrase of the variable. Raises `InvalidInputError`."""
    try:
        key = serialization.load_pem_private_key(_read(file), _passphrase())
    except TypeError:
        raise InvalidInputError(f"{file}: set {PASSPHRASE_VARIABLE} for an encrypted key, and for no other") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInputError(f"{file} is no private key in PEM form, or {PASSPHRASE_VARIABLE} is wrong") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInputError(f"{file} holds another kind of key; packages are signed with Ed25519")
    return key


def public_key(pem: bytes, file: Path) -> Ed25519PublicKey:
    """The Ed25519 public key in `pem`, which came from `file`."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInputError(f"{file} holds a damaged public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInputError(f"{file} holds another kind of key; packages are signed with Ed25519")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 bytes of the SHA-256 of the raw key, in hexadecimal."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]


def sign(sums: bytes, manifest: bytes, model: str, key: Ed25519PrivateKey, *, former: bytes | None = None) -> bytes:
    """The signature file of a package with this SHA256SUMS and airserve.toml.

    Other keys' signatures in `former` are kept where they are of the same content.
    """
    subjects = tuple(_Subject(name, {"sha256": digest}) for name, digest in _digests(sums, manifest).items())
    statement = msgspec.json.encode(_Statement(_STATEMENT_TYPE, subjects, _PREDICATE_TYPE, {"model": model}))
    own = key_id(key.public_key())
    others: list[_Signature] = []
    if former is not None:
        envelope = _envelope(former)
        if _decoded(envelope.payload) == statement:
            others = [each for each in envelope.signatures if each.keyid != own]
    signature = _Signature(own, _text(key.sign(_pae(statement))))
    envelope = _Envelope(_text(statement), _PAYLOAD_TYPE, (*others, signature))
    return msgspec.json.format(msgspec.json.encode(envelope), indent=2) + b"\n"


def check_signature(signature: bytes | None, sums: bytes, manifest: bytes, trusted: TrustedKeys) -> str:
    """The id of a trusted key that signed exactly this content.

    Raises `UnsignedModelError` without a signature of a trusted key, and `BadPackageError` for one that is of other
    content or was changed.
    """
    if signature is None:
        raise UnsignedModelError("the package is not signed; sign it with airserve sign PACKAGE --key KEY")
    envelope = _envelope(signature)
    payload = _decoded(envelope.payload)
    signer = None
    for each in envelope.signatures:
        key = trusted.keys.get(each.keyid)
        if key is None:
            continue
        try:
            key.verify(_decoded(each.sig), _pae(payload))
        except InvalidSignature:
            raise BadPackageError(f"the signature of key {each.keyid} is wrong: the package was changed") from None
        signer = each.keyid
    if signer is None:
        ids = ", ".join(each.keyid for each in envelope.signatures) or "nobody"
        raise UnsignedModelError(f"the package is signed by {ids[:200]}, which is no trusted key here")
    # Only what was signed is read.
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
    except msgspec.MsgspecError:
        raise BadPackageError("the signature is of something else than a package") from None
    signed = {subject.name: subject.digest.get("sha256") for subject in statement.subject}
    if statement.predicate_type != _PREDICATE_TYPE or signed != _digests(sums, manifest):
        raise BadPackageError("the signature is of another package: a file was changed after it was signed")
    return signer


def signed_parts(package: Package) -> tuple[bytes, bytes]:
    """SHA256SUMS and airserve.toml of a package in a folder."""
    return (package.folder / SUMS_NAME).read_bytes(), (package.folder / FILE_NAME).read_bytes()


def package_signature(package: Package, key: Ed25519PrivateKey | None) -> bytes | None:
    """The signature file of a package in a folder, with one more signature where a key is given; nothing is written."""
    file = package.folder / SIGNATURE_NAME
    former = file.read_bytes() if file.is_file() else None
    if key is None:
        return former
    return sign(*signed_parts(package), package.manifest.name, key, former=former)


def _digests(sums: bytes, manifest: bytes) -> dict[str, str]:
    return {SUMS_NAME: hashlib.sha256(sums).hexdigest(), FILE_NAME: hashlib.sha256(manifest).hexdigest()}


def _envelope(content: bytes) -> _Envelope:
    try:
        envelope = msgspec.json.decode(content[:_MAX_BYTES], type=_Envelope)
    except msgspec.MsgspecError:
        raise BadPackageError("the signature file is damaged; sign the package again") from None
    if envelope.payload_type != _PAYLOAD_TYPE:
        raise BadPackageError("the signature file is of a kind that is not known here; sign the package again")
    return envelope


def _pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed says how long its parts are."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadPackageError("the signature file is damaged; sign the package again") from None


def _passphrase() -> bytes | None:
    return os.environ.get(PASSPHRASE_VARIABLE, "").encode() or None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}") from None
