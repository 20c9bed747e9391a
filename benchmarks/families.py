"""A real model of each family, served and straight on its engine: images, embeddings and tokens per second."""

from __future__ import annotations

import io
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tests import large_models

from airserve.engines import load_generator
from airserve.models.gguf_import import package_gguf
from benchmarks import calls, report, service, token_streams
from benchmarks.engine_alone import Alone, source
from benchmarks.load import Measurement, http1_request, median, one_answer
from benchmarks.token_streams import Figures

CONNECTIONS = 16
STREAMS = (1, 4)
SECONDS = 3.0
ROUNDS = 3
UPLINK_BIT_PER_S = 10e6
_TEXT = b"Send me the invoice of last month, please, and tell me how the bill can be paid."


@dataclass(frozen=True, slots=True)
class Served:
    """One model of rows: straight on the engine, and through the server."""

    alone_per_s: float
    cell: Measurement


@dataclass(frozen=True, slots=True)
class Sent:
    """One way to send a picture: bytes of a request's body, and its call at one connection."""

    size: int
    cell: Measurement


@dataclass(frozen=True, slots=True)
class Tokens:
    """So many streams at once, on the engine and through the server; the median round of each by its rate."""

    engine: Figures
    server: Figures


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        vision, text = large_models.efficientnet(), large_models.minilm()
        language = package_gguf(large_models.gemma(), Path(folder) / "gemma", name="gemma")
        served = [
            service.Publication("efficientnet", vision),
            service.Publication("pixels", vision / "model.onnx"),
            service.Publication("minilm", text),
            service.Publication("gemma", language),
        ]
        picture = _jpeg()
        with service.airserve(served) as ours:
            rows = {
                "EfficientNet-Lite0, a JPEG a call": _rows(ours, "efficientnet", "image", picture, vision),
                "all-MiniLM-L6-v2, a sentence a call": _rows(ours, "minilm", "text", _TEXT, text),
            }
            sent = {
                "JPEG": _sent(_bytes_call(ours, "efficientnet", "image", picture), len(picture)),
                "float32 tensor": _sent(_tensor_call(ours), 4 * 3 * 224 * 224),
            }
            tokens = _tokens(ours, language)
    _publish(rows, sent, tokens)


def _rows(ours: service.Service, model: str, name: str, item: bytes, folder: Path) -> Served:
    """Both take turns, so that a machine that slows down slows them alike."""
    call = _bytes_call(ours, model, name, item)
    alone = Alone(folder)
    direct: list[float] = []
    cells: list[Measurement] = []
    for _ in range(ROUNDS):
        direct.append(alone.rows_per_s(name, item, CONNECTIONS, seconds=SECONDS / 2))
        cells.append(call.measure(connections=CONNECTIONS, seconds=SECONDS))
    alone.close()
    return Served(statistics.median(direct), median(cells))


def _sent(call: calls.RestCall, size: int) -> Sent:
    return Sent(size, median([call.measure(connections=1, seconds=SECONDS / 2) for _ in range(ROUNDS)]))


def _tokens(ours: service.Service, folder: Path) -> dict[int, Tokens]:
    generator = load_generator("llama", source(folder), threads=2)
    token_streams.from_engine(generator, 1)
    token_streams.from_server(ours, "gemma", 1)
    rounds = {
        streams: [
            (token_streams.from_engine(generator, streams), token_streams.from_server(ours, "gemma", streams))
            for _ in range(ROUNDS)
        ]
        for streams in STREAMS
    }
    generator.close()
    return {
        streams: Tokens(_median([engine for engine, _ in pairs]), _median([server for _, server in pairs]))
        for streams, pairs in rounds.items()
    }


def _median(rounds: list[Figures]) -> Figures:
    return sorted(rounds, key=lambda figures: figures.tokens_per_s)[len(rounds) // 2]


def _jpeg() -> bytes:
    """A photograph of a cat whose shorter side is what the model scales to."""
    file = io.BytesIO()
    with Image.open(large_models.photographs()["cat"]) as image:
        image.convert("RGB").resize((385, 256)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _bytes_call(ours: service.Service, model: str, name: str, item: bytes) -> calls.RestCall:
    """One element of a BYTES input and all outputs as raw bytes (the binary tensor data extension)."""
    raw = len(item).to_bytes(4, "little") + item
    return _binary_call(ours, model, {"name": name, "datatype": "BYTES", "shape": [1]}, raw)


def _tensor_call(ours: service.Service) -> calls.RestCall:
    x = np.random.default_rng(7).standard_normal((1, 3, 224, 224), dtype=np.float32)
    return _binary_call(ours, "pixels", {"name": "inputs", "datatype": "FP32", "shape": list(x.shape)}, x.tobytes())


def _binary_call(ours: service.Service, model: str, tensor: dict[str, object], raw: bytes) -> calls.RestCall:
    document = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(document).encode()
    headers = {
        "authorization": f"Bearer {ours.key}",
        "airserve-timeout-ms": str(calls.TIMEOUT_MS),
        "inference-header-content-length": str(len(head)),
    }
    request = http1_request(f"{ours.http_url}/v2/models/{model}/infer", headers, head + raw)
    return calls.RestCall(ours, request, len(one_answer(ours.http_url, request)))


def _publish(rows: dict[str, Served], sent: dict[str, Sent], tokens: dict[int, Tokens]) -> None:
    goals = [report.Goal(f"{name}: served against the engine", _share(each), 0.9) for name, each in rows.items()]
    goals += [
        report.Goal(f"tokens/s of {streams} streams: served against the engine", _token_share(each), 0.95)
        for streams, each in tokens.items()
    ]
    panels = [
        report.Bars("Rows per second, served / engine", "share", {n: _share(e) for n, e in rows.items()}, 0.9),
        report.Bars(
            "Tokens per second, served / engine",
            "share",
            {f"{streams} streams": _token_share(each) for streams, each in tokens.items()},
            0.95,
        ),
    ]
    tables = [_rows_table(rows), _tokens_table(tokens), _sent_table(sent)]
    report.publish("families", "A real model of each family", tables, goals, panels)


def _rows_table(rows: dict[str, Served]) -> report.Table:
    columns = ("model", "engine rows/s", "served rows/s", "share", "p50 ms", "p99 ms", "server CPU µs")
    lines = [
        (
            name,
            *map(report.number, (each.alone_per_s, each.cell.calls_per_s)),
            f"{_share(each):.2f}",
            *map(report.number, (each.cell.p50_ms, each.cell.p99_ms, each.cell.server_us)),
        )
        for name, each in rows.items()
    ]
    notes = (
        f"{CONNECTIONS} connections, one row a call, HTTP/1.1 in plaintext; client and server share the cores. Engine: "
        "our own in this process, decoding and tokenising included, the best of two callers, two threads, and "
        f"batches of {CONNECTIONS}. The median of {ROUNDS} rounds in turn.",
    )
    return report.Table("Images and embeddings", columns, lines, notes)


def _tokens_table(tokens: dict[int, Tokens]) -> report.Table:
    columns = ("streams", "where", "tokens/s", "first token ms", "between p50 ms", "between p99 ms")
    lines = [
        (str(streams), where, *map(report.number, (each.tokens_per_s, each.first_ms, each.p50_ms, each.p99_ms)))
        for streams, both in tokens.items()
        for where, each in (("engine", both.engine), ("served", both.server))
    ]
    notes = (
        f"Gemma 3 270M, Q4_K_M, answers of {token_streams.TOKENS} tokens, each to a prompt that was not seen before. "
        "Tokens per second count from the requests to the last token, prompts included.",
    )
    return report.Table("Tokens", columns, lines, notes)


def _sent_table(sent: dict[str, Sent]) -> report.Table:
    columns = ("a picture as", "bytes", "p50 ms", f"and at {UPLINK_BIT_PER_S / 1e6:.0f} Mb/s up, ms")
    lines = [
        (way, f"{each.size:,}", *map(report.number, (each.cell.p50_ms, each.cell.p50_ms + _uplink_ms(each.size))))
        for way, each in sent.items()
    ]
    notes = ("EfficientNet-Lite0, one connection on the loopback; the last column adds the time that the bytes need.",)
    return report.Table("JPEG or tensor", columns, lines, notes)


def _share(served: Served) -> float:
    return served.cell.calls_per_s / served.alone_per_s


def _token_share(tokens: Tokens) -> float:
    return tokens.server.tokens_per_s / tokens.engine.tokens_per_s


def _uplink_ms(size: int) -> float:
    return size * 8 / UPLINK_BIT_PER_S * 1e3
