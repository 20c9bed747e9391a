"""What a service offers for a model, `GET /v2/models/{model}/places`: codecs, a bundle for the device, splits."""

from __future__ import annotations

from typing import Any

import msgspec

from airserve.client.exchange import HttpRequest, model_path
from airserve.core.errors import AirserveError


class CodecOffer(msgspec.Struct, frozen=True):
    """A codec that a tensor may travel in. `accuracy` is relative to answers without it; `bytes` are of one row."""

    tensor: str
    codec: str
    accuracy: float | None = None
    metric: str | None = None
    bytes: float | None = None


class DeviceOffer(msgspec.Struct, frozen=True):
    """The bundle with the model's small variant."""

    variant: str
    bytes: int
    sha256: str
    accuracy: float | None = None
    metric: str | None = None


class SplitOffer(msgspec.Struct, frozen=True):
    """A cut: the head is in the bundle of the model `model`, which is the tail and takes `tensor`."""

    model: str
    version: str | int
    tensor: str
    codecs: tuple[CodecOffer | str, ...] = ()
    accuracy: float | None = None
    metric: str | None = None
    head_bytes: int = 0
    head_sha256: str = ""
    head_share: float = 0.0


class VariantOffer(msgspec.Struct, frozen=True):
    """A variant that may answer; how accurate it is, in the unit of the model's own accuracy."""

    name: str
    accuracy: float


class Offer(msgspec.Struct, frozen=True):
    """All of it. `compute_ms` is what one row takes in the service; `vision` tells how a picture becomes the input.

    `variants` are there where several are served, the most accurate first.
    """

    model: str
    version: str | int | None = None
    deterministic: bool = False
    compute_ms: float | None = None
    metric: str | None = None
    accuracy: float | None = None
    variants: tuple[VariantOffer, ...] = ()
    vision: dict[str, Any] | None = None
    codecs: tuple[CodecOffer, ...] = ()
    device: DeviceOffer | None = None
    splits: tuple[SplitOffer, ...] = ()

    def codec_offer(self, tensor: str, codec: str) -> CodecOffer | None:
        """What is said of `codec` for `tensor`."""
        return next((each for each in self.codecs if each.tensor == tensor and each.codec == codec), None)

    def device_accuracy(self) -> float | None:
        """Of the device's answers, relative to the whole model's."""
        return None if self.device is None else self.relative(self.device.accuracy, self.device.metric)

    def least_variant(self, asked: float | None, of_plan: float | None) -> float | None:
        """The least accuracy of a variant with which a plan of accuracy `of_plan` reaches `asked`, which is relative.

        None where nothing is asked, or one variant alone is served.
        """
        if asked is None or not self.variants:
            return None
        return self.variants[0].accuracy * min(1.0, asked / (of_plan or 1.0))

    def of_variant(self, accuracy: float | None) -> float:
        """The accuracy of the variant that answered, relative to the most accurate one."""
        return accuracy / self.variants[0].accuracy if accuracy is not None and self.variants else 1.0

    def relative(self, accuracy: float | None, metric: str | None) -> float | None:
        """`accuracy` as a part of the model's own where both are in the same unit; as it is otherwise."""
        if accuracy is not None and self.accuracy and metric == self.metric:
            return min(1.0, accuracy / self.accuracy)
        return accuracy


def offer_request(model: str, version: str | None) -> HttpRequest:
    """The request that is answered with the offer."""
    return HttpRequest("GET", f"{model_path(model, version)}/places", {})


def parse_offer(body: bytes) -> Offer:
    """The document of the route. Raises `AirserveError` for what is none."""
    try:
        return msgspec.json.decode(body, type=Offer)
    except msgspec.MsgspecError as error:
        raise AirserveError(f"the service's places cannot be read: {error}") from None
