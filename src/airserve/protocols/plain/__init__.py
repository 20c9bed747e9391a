"""Plain HTTP: a picture, a text, JSON rows or an .npy file to a model, and an answer in the form that is accepted."""

from airserve.protocols.plain.describe import describe, model_list
from airserve.protocols.plain.request import PlainRequest, decode
from airserve.protocols.plain.response import encode
from airserve.protocols.plain.routes import Operation, Route, match

__all__ = [
    "Operation",
    "PlainRequest",
    "Route",
    "decode",
    "describe",
    "encode",
    "match",
    "model_list",
]
