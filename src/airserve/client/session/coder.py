"""Frames as requests: each input in the codec of the moment, as the difference to a frame that the service has.

Only a frame that was answered serves as a reference, since its answer says that the service has decoded it. A request
is made once, so that a second attempt carries the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from airserve.client.calls import new_call_id
from airserve.client.exchange import HttpRequest, model_path
from airserve.client.link.codec_book import CodecBook
from airserve.client.link.coding import coded_call, is_picture
from airserve.client.link.offer import CodecOffer, Offer
from airserve.client.link.plan import RAW
from airserve.client.link.sizes import rows_of
from airserve.client.session.adapter import Rung
from airserve.client.session.frame import Frame, Sent
from airserve.codecs.tensors import to_raw
from airserve.core.call import Array, Tensors
from airserve.core.tensor import datatype_of

LEAST_ACCURACY = 0.99
"""The least accuracy, relative to raw inputs, of a codec that is taken where the caller says nothing."""

_DIFFERS_FROM_BYTES = 1024


class Coder:
    """One model's inputs; `outputs` are those to ask for, all of them without."""

    def __init__(self, model: str, version: str | None, outputs: tuple[str, ...] | None, offer: Offer) -> None:
        self._model, self._version, self._outputs, self._offer = model, version, outputs, offer
        self._book = CodecBook()
        self._encoders: dict[str, Any] = {}
        self._told: deque[Sent | None] = deque()
        self._codec = RAW
        self.stream = new_call_id()

    def rungs(self, inputs: Tensors, accuracy: float | None) -> list[Rung]:
        """Every codec that is accurate enough, with the size of `inputs` in it. Computes."""
        floor = LEAST_ACCURACY if accuracy is None else accuracy
        sample = Frame(0, inputs, "0" * 32, 0.0)
        rungs = []
        for codec in (RAW, *dict.fromkeys(each.codec for each in self._offer.codecs if each.tensor in inputs)):
            measured = self._accuracy(codec, inputs)
            if measured is not None and measured >= floor:
                size = len(self._plain(sample, codec).body)
                rungs.append(Rung(codec, measured, size))
        return rungs

    def encode(self, frame: Frame, codec: str) -> Sent:
        """The frame's request. Computes."""
        self._hear()
        accuracy = self._accuracy(codec, frame.inputs)
        if codec == RAW or is_picture(codec):
            return Sent(frame, self._plain(frame, codec), codec, accuracy)
        if codec != self._codec:
            # Another codec has other symbols, so nothing that the service has would serve: another stream.
            self._encoders.clear()
            self._codec, self.stream = codec, new_call_id()
        request, keys = self._in_stream(frame, codec)
        return Sent(frame, request, codec, accuracy, keys)

    def acknowledged(self, sent: Sent) -> None:
        """The service has decoded the frame. What is told here counts from the next frame on: one may be made now."""
        self._told.append(sent)

    def ask_key(self) -> None:
        """What comes next refers to nothing: another connection, or the service misses a frame."""
        self._told.append(None)

    def _hear(self) -> None:
        while self._told:
            sent = self._told.popleft()
            if sent is None:
                for encoder in self._encoders.values():
                    encoder.ask_key()
            elif sent.codec == self._codec:
                for name in sent.keys.keys() & self._encoders.keys():
                    self._encoders[name].acknowledged(sent.keys[name])

    def _accuracy(self, codec: str, inputs: Iterable[str]) -> float | None:
        if codec == RAW:
            return 1.0
        offers = [each for name in inputs if (each := self._offer.codec_offer(name, codec)) is not None]
        known = [each.accuracy for each in offers if each.accuracy is not None]
        return min(known) if known and len(known) == len(offers) else None

    def _offers(self, inputs: Tensors, codec: str) -> dict[str, CodecOffer]:
        return {name: each for name in inputs if (each := self._offer.codec_offer(name, codec)) is not None}

    def _plain(self, frame: Frame, codec: str) -> HttpRequest:
        offers = self._offers(frame.inputs, codec)
        call = coded_call(
            self._model,
            self._version,
            frame.inputs,
            codec,
            offers,
            self._offer.vision,
            self._outputs,
            frame.call_id,
            self._book,
        )
        return call.request

    def _in_stream(self, frame: Frame, codec: str) -> tuple[HttpRequest, dict[str, int]]:
        heads: list[dict[str, Any]] = []
        raws: list[bytes | memoryview] = []
        keys: dict[str, int] = {}
        offers = self._offers(frame.inputs, codec)
        for name, array in frame.inputs.items():
            parameters: dict[str, Any] = {}
            raw: bytes | memoryview
            if name in offers:
                parameters["codec"] = codec
                raw = self._frame(name, array, codec, keys)
            else:
                raw = to_raw(array)
            parameters["binary_data_size"] = len(raw)
            raws.append(raw)
            heads.append({"name": name, "shape": array.shape, "datatype": datatype_of(array), "parameters": parameters})
        return self._request(heads, raws, frame.call_id), keys

    def _frame(self, name: str, array: Array, codec: str, keys: dict[str, int]) -> bytes:
        from airserve.codecs.frame import encode
        from airserve.codecs.stream import StreamEncoder

        if array.nbytes < _DIFFERS_FROM_BYTES or rows_of(array) != 1:
            return encode(array, codec)
        if name not in self._encoders:
            self._encoders[name] = StreamEncoder(codec)
        coded = self._encoders[name].encode(array)
        if coded.head.key is not None:
            keys[name] = coded.head.key
        return bytes(coded.frame)

    def _request(
        self, heads: Sequence[Mapping[str, Any]], raws: Sequence[bytes | memoryview], call_id: str
    ) -> HttpRequest:
        document: dict[str, Any] = {"inputs": heads}
        if self._outputs is None:
            document["parameters"] = {"binary_data_output": True}
        else:
            document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in self._outputs]
        json_part = msgspec.json.encode(document)
        headers = {
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(len(json_part)),
            "airserve-call-id": call_id,
            "airserve-stream": self.stream,
        }
        return HttpRequest(
            "POST", f"{model_path(self._model, self._version)}/infer", headers, b"".join((json_part, *raws))
        )
