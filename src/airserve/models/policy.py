"""What a store asks of packages: whose signatures count, whether it needs one, what encrypts, what a graph may be."""

from __future__ import annotations

from dataclasses import dataclass, field

from airserve.models.onnx_limits import OnnxLimits
from airserve.models.signature import TrustedKeys
from airserve.models.store_key import KeyService


@dataclass(frozen=True, slots=True)
class StorePolicy:
    """Without `key` packages lie in plaintext; with `require_signed` none without a trusted signature is taken."""

    key: KeyService | None = None
    trusted: TrustedKeys = field(default_factory=lambda: TrustedKeys({}))
    require_signed: bool = False
    limits: OnnxLimits = field(default_factory=OnnxLimits)
