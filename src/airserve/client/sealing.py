"""Sealed calls as the client sees them, without any I/O: whose key to trust, what to send, how to read the answer.

Needs `cryptography`: `pip install 'airserve[sealed]'`.
"""

from __future__ import annotations

import base64
import os
import time
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from airserve.client.exchange import HttpRequest, HttpResponse, model_path, raise_for, tensors_of
from airserve.codecs import sealed_message as wire
from airserve.codecs.sealed_key import KeyConfig, KeyDocument, verify
from airserve.codecs.sealed_suite import SealedSuite
from airserve.core.call import Tensors
from airserve.core.errors import AirserveError, SealedKeyError, UnsealError

Steps = Generator[HttpRequest, HttpResponse, Tensors]
"""One attempt: gives each request to send, is sent its response, and returns the outputs."""

_SKEW_S = 60
_REASON = "; sealed reason: "


class TrustOnFirstUseWarning(UserWarning):
    """The identity of a service was not given, so the first one that answers is trusted."""


class SealedKeys:
    """The keys of one service's models, as far as `identity` signed them; None trusts the first that answers."""

    def __init__(self, identity: str | None) -> None:
        self.identity = identity
        self._keys: dict[tuple[str, str | None], KeyConfig] = {}

    def known(self, model: str, version: str | None, now: float) -> KeyConfig | None:
        """The key to seal to at `now` (seconds, UTC), if it is known already."""
        key = self._keys.get((model, version))
        return key if key is not None and now < key.renew_at else None

    def request(self, model: str, version: str | None) -> HttpRequest:
        """Asks for the key."""
        path = f"/sealed/{quote(model, safe='@')}"
        return HttpRequest("GET", path if version is None else f"{path}/versions/{quote(str(version), safe='')}", {})

    def learn(self, model: str, version: str | None, response: HttpResponse, now: float) -> KeyConfig:
        """The key in a response. Raises `SealedKeyError` for one that is not to be trusted."""
        raise_for(response)
        try:
            document = msgspec.json.decode(response.body, type=KeyDocument)
        except msgspec.MsgspecError:
            raise SealedKeyError("the answer holds no key; is the URL that of an Airserve service?") from None
        if self.identity is None:
            warnings.warn(
                f"the service says itself that it is {document.identity}, and is believed; give sealed_identity= to "
                "seal for nobody else ('airserve sealed identity' shows it where the service runs)",
                TrustOnFirstUseWarning,
                stacklevel=2,
            )
        key = verify(document.key, self.identity or document.identity)
        if key.model != model.partition("@")[0] or str(version or key.version) != str(key.version):
            raise SealedKeyError(f"the service gave the key of {key.model} version {key.version}, which was not asked")
        if not key.not_before - _SKEW_S <= now < key.not_after:
            raise SealedKeyError("the service gave a key that is not in use now; is this clock right?")
        self.identity = self.identity or document.identity
        self._keys[model, version] = key
        return key


class SealedInfer:
    """One call over all its attempts. Each is sealed anew, since none may be taken twice; all have one commitment."""

    def __init__(
        self,
        model: str,
        inputs: Mapping[str, Any],
        version: str | None,
        outputs: Sequence[str] | None,
        call_id: str,
    ) -> None:
        self.path = f"{model_path(model, version)}/infer"
        self.request = HttpRequest("POST", self.path, {"airserve-call-id": call_id})
        self._model, self._version, self._call_id = model, version, call_id
        self._content = wire.write_content(tensors_of(inputs), outputs)
        self._salt = os.urandom(32)

    def steps(self, keys: SealedKeys) -> Steps:
        """One attempt; a key that the model does not have any more is fetched again, once."""
        model, version = self._model, self._version
        key = keys.known(model, version, time.time())
        if key is None:
            key = keys.learn(model, version, (yield keys.request(model, version)), time.time())
        attempt = self.seal(key, time.time_ns())
        response = yield attempt.request
        if _is_about_the_key(response):
            key = keys.learn(model, version, (yield keys.request(model, version)), time.time())
            attempt = self.seal(key, time.time_ns())
            response = yield attempt.request
        return attempt.open(response)

    def seal(self, key: KeyConfig, now_ns: int) -> SealedAttempt:
        """The call, sealed to `key` at `now_ns` (UTC)."""
        suite, secret = key.suite, os.urandom(32)
        header = wire.Header(
            bytes.fromhex(key.key_id), key.kem, key.kdf, key.aead, wire.commitment(self._salt, self._content)
        )
        plaintext = wire.pack(wire.Inner(now_ns, secret, self._salt, self._content))
        info = wire.binding(header, key.model, str(key.version), self._call_id)
        sealed = suite.seal(plaintext, key.public, info)
        headers = {"content-type": wire.MEDIA_TYPE, **self.request.headers}
        request = HttpRequest("POST", self.path, headers, header.raw + sealed)
        return SealedAttempt(request, suite, header, suite.enc(sealed), secret)


@dataclass(frozen=True, slots=True)
class SealedAttempt:
    """A sealed request, and what it takes to open its answer."""

    request: HttpRequest
    suite: SealedSuite
    header: wire.Header
    enc: bytes
    secret: bytes

    def open(self, response: HttpResponse) -> Tensors:
        """The outputs; raises the refusal, with its reason unsealed. An answer that is not sealed is not believed."""
        try:
            raise_for(response)
        except AirserveError as error:
            sentence, marked, reason = error.message.partition(_REASON)
            if not marked:
                raise
            raise type(error)(f"{sentence}: {self._reason(reason)}", retry_after=error.retry_after) from None
        content = self.suite.open_reply(self.secret, self.enc, self.header, "reply", response.body)
        return wire.read_content(content)[0]

    def _reason(self, sealed: str) -> str:
        try:
            reason = base64.b64decode(sealed, validate=True)
        except ValueError:
            raise UnsealError("the sealed reason of a refusal cannot be opened") from None
        text = self.suite.open_reply(self.secret, self.enc, self.header, "reason", reason)
        return text.decode(errors="replace").rstrip()


def _is_about_the_key(response: HttpResponse) -> bool:
    try:
        raise_for(response)
    except SealedKeyError:
        return True
    except AirserveError:
        return False
    return False
