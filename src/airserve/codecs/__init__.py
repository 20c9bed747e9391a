"""Tensors <-> bytes, shared by client and server."""

from airserve.codecs.codec import Codec, is_lossless, parse
from airserve.codecs.error_bound import error_bound
from airserve.codecs.frame import decode, encode, read_head

__all__ = ["Codec", "decode", "encode", "error_bound", "is_lossless", "parse", "read_head"]
