"""Sealed calls: what the front sees of them, and what it passes on. It opens nothing."""

from airserve.protocols.sealed.message import SealedCall, decode, encode, is_sealed
from airserve.protocols.sealed.routes import Route, match, render_key
from airserve.protocols.sealed.rpc import decode_message, encode_message, is_sealed_message

__all__ = [
    "Route",
    "SealedCall",
    "decode",
    "decode_message",
    "encode",
    "encode_message",
    "is_sealed",
    "is_sealed_message",
    "match",
    "render_key",
]
