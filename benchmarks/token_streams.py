"""Streams of generated tokens, straight from the engine and through the server: rate, first token, time between."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from airserve.core.generation import Generation, Piece
from airserve.engines import Generator
from benchmarks.service import Service

TOKENS = 48
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Stream:
    """When each piece of one answer came, in seconds from its request, and how many tokens it had."""

    times: list[float]
    tokens: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Of all streams together; times in milliseconds."""

    tokens_per_s: float
    first_ms: float
    p50_ms: float
    p99_ms: float


def from_engine(generator: Generator, streams: int) -> Figures:
    """As many answers at once as `streams`, from the engine in this process."""

    def generate() -> Stream:
        times: list[float] = []
        tokens = 0
        began = time.perf_counter()

        def emit(piece: Piece) -> bool:
            nonlocal tokens
            times.append(time.perf_counter() - began)
            tokens = piece.tokens.output
            return True

        generator.generate(Generation(chat=False, parameters=_parameters()), emit)
        return Stream(times, tokens)

    return _at_once(generate, streams)


def from_server(service: Service, model: str, streams: int) -> Figures:
    """The same over HTTP/1.1, server-sent events of OpenAI's completions."""

    def call() -> Stream:
        body = {"model": model, "stream": True, "stream_options": {"include_usage": True}, **_parameters()}
        return _call(service, json.dumps(body).encode())

    return _at_once(call, streams)


def _parameters() -> dict[str, object]:
    """A prompt that no slot has seen before, and an answer that does not end early."""
    prompt = (
        f"Chapter {next(_numbers)}. Once upon a time, in a country far away, there lived a miller with three sons. "
    )
    return {"prompt": prompt * 2, "max_tokens": TOKENS, "temperature": 0.0}


def _call(service: Service, body: bytes) -> Stream:
    parts = urlsplit(service.http_url)
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {service.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    times: list[float] = []
    received = bytearray()
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=120) as connection:
        began = time.perf_counter()
        connection.sendall(head.encode() + body)
        while b"data: [DONE]" not in received:
            data = connection.recv(1 << 16)
            if not data:
                raise RuntimeError(f"the stream broke off: {bytes(received[-300:]).decode(errors='replace')}")
            before = received.count(b"data: {")
            received += data
            times += [time.perf_counter() - began] * (received.count(b"data: {") - before)
    usage = received[received.rindex(b'"completion_tokens":') :]
    return Stream(times[:-1], int(usage.split(b":")[1].split(b",")[0].split(b"}")[0]))


def _at_once(one: Callable[[], Stream], streams: int) -> Figures:
    found: list[Stream] = []
    threads = [threading.Thread(target=lambda: found.append(one())) for _ in range(streams)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if len(found) < streams:
        raise RuntimeError("a stream failed; see the message above")
    between = np.concatenate([np.diff(stream.times) for stream in found]) * 1e3
    return Figures(
        tokens_per_s=sum(stream.tokens for stream in found) / seconds,
        first_ms=float(np.median([stream.times[0] for stream in found])) * 1e3,
        p50_ms=float(np.percentile(between, 50)),
        p99_ms=float(np.percentile(between, 99)),
    )
