"""What codecs make of real tensors: bytes, error, and the processor time of encoding and decoding."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests import large_models

from airserve.codecs.frame import decode, encode
from airserve.codecs.ladder import FIRST_FLIGHT_BYTES
from airserve.codecs.picture_pixels import centre
from airserve.codecs.pictures import recode
from airserve.codecs.stream import StreamDecoder, StreamEncoder
from airserve.engines import load_model
from benchmarks import report
from benchmarks.engine_alone import source

CODECS = (
    "fp32", "fp32+zstd", "fp32+shuffle", "fp16", "fp16+shuffle", "bf16+shuffle", "int8", "int8+zstd", "int8+lz4",
    "int8+ans", "int8c+zstd", "int8c+ans", "int4c+zstd", "int4c+ans", "int2c+zstd", "int2c+ans", "topk:0.1+zstd",
)  # fmt: skip
PICTURES = ("jpeg:85", "jpeg:50", "webp:75", "webp:60", "webp:30")
STREAMS = ("fp32+zstd", "fp16+zstd", "int8+zstd", "int8c+ans")
RECTIFIED, BOTTLENECK = "/_blocks.10/_swish/Clip_output_0", "/_blocks.10/Add_output_0"
SECONDS = 0.15
TICKS = 100

Array = np.ndarray[Any, Any]


def main() -> None:
    """Measure and publish."""
    photographs = large_models.photographs()
    tensors = _tensors(photographs["cat"])
    tables = [_table(name, array) for name, array in tensors.items()]
    tables += [_pictures(photographs), _streams()]
    rectified = tensors["rectified features"]
    goals = [
        report.Goal("rectified features, int2c+ans, bits a value", _bits(rectified, "int2c+ans"), 1.0, at_most=True),
        report.Goal("rectified features, int4c+ans, bits a value", _bits(rectified, "int4c+ans"), 1.0, at_most=True),
        report.Goal(
            "rectified features, int2c+ans, ms to encode", _encode_ms(rectified, "int2c+ans"), 5.0, at_most=True
        ),
    ]
    shown = ("fp16", "int8+zstd", "int8c+ans", "int4c+ans", "int2c+ans")
    panels = [
        report.Bars("Rectified features, 672×14×14", "bits a value", {name: _bits(rectified, name) for name in shown})
    ]
    report.publish("codecs", "Tensors on the wire", tables, goals, panels)


def _tensors(photograph: Path) -> dict[str, Array]:
    """By name: the input of EfficientNet-Lite0, two maps inside of it, an embedding of MiniLM, 64 KB of a sensor."""
    pixels = centre(photograph.read_bytes(), size=224, resize=256, resample="bicubic", max_pixels=50_000_000)
    picture = ((pixels.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None].copy()
    rectified, bottleneck = _features(picture)
    minilm = load_model("onnx", source(large_models.minilm()), threads=2)
    text = np.array([b"Send me the invoice of last month, please."], object)
    return {
        "picture, normalised": picture,
        "rectified features": rectified,
        "bottleneck features": bottleneck,
        "embedding": minilm.run({minilm_input(): text})["embedding"],
        "sensor": _sensor(0),
    }


def minilm_input() -> str:
    """The name of the encoder's input."""
    from airserve.models.package import open_package

    return open_package(large_models.minilm()).manifest.inputs[0].name


def _features(picture: Array) -> list[Array]:
    """What EfficientNet-Lite0 makes of `picture` in its eleventh block: after the first activation, and at the end."""
    import onnx
    from onnxruntime import InferenceSession

    model = onnx.load(large_models.efficientnet() / "model.onnx")
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in (RECTIFIED, BOTTLENECK))
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Array] = session.run([RECTIFIED, BOTTLENECK], {session.get_inputs()[0].name: picture})
    return found


def _sensor(tick: int) -> Array:
    """128 channels of 128 samples: slow waves with noise of a hundredth of them; a tick is 50 ms."""
    samples = np.arange(128) / 128 + tick / 20
    channels = np.arange(128)[:, None]
    noise = np.random.default_rng(tick).normal(0, 0.01, (128, 128))
    return (np.sin(samples * (1 + channels / 40) + channels) + noise).astype(np.float32)[None]


def _table(name: str, array: Array) -> report.Table:
    rows = [_row(array, codec) for codec in CODECS]
    shape = "×".join(map(str, array.shape))
    note = (
        f"{array.nbytes:,} bytes, {100 * float((array == 0).mean()):.0f} % zeros, standard deviation "
        f"{report.number(float(array.std()))}. MB/s of float32, in processor time. In bold: fits into "
        f"the first flight of {FIRST_FLIGHT_BYTES:,} bytes."
    )
    columns = ("codec", "bytes", "ratio", "bits/value", "max error", "mean error", "encode MB/s", "decode MB/s")
    return report.Table(f"{name[0].upper()}{name[1:]}, {shape}", columns, rows, (note,))


def _row(array: Array, codec: str) -> tuple[str, ...]:
    frame = encode(array, codec)
    off = np.abs(decode(frame, max_bytes=array.nbytes).astype(np.float64) - array)
    size = f"{len(frame):,}"
    return (
        codec,
        f"**{size}**" if len(frame) <= FIRST_FLIGHT_BYTES < array.nbytes else size,
        report.number(array.nbytes / len(frame)),
        report.number(8 * len(frame) / array.size),
        f"{off.max():.2g}",
        f"{off.mean():.2g}",
        report.number(_rate(lambda: encode(array, codec), array.nbytes)),
        report.number(_rate(lambda: decode(frame, max_bytes=array.nbytes), array.nbytes)),
    )


def _rate(work: Callable[[], object], size: int) -> float:
    """MB of `size` per second of this process's time, the best of five rounds."""
    best = 0.0
    for _ in range(5):
        started, count = time.process_time(), 0
        while time.process_time() - started < SECONDS / 5 or not count:
            work()
            count += 1
        best = max(best, count * size / (time.process_time() - started) / 1e6)
    return best


def _bits(array: Array, codec: str) -> float:
    return 8 * len(encode(array, codec)) / array.size


def _encode_ms(array: Array, codec: str) -> float:
    return 1e3 * array.nbytes / 1e6 / _rate(lambda: encode(array, codec), array.nbytes)


def _pictures(photographs: dict[str, Path]) -> report.Table:
    """The photographs as a model of 224 pixels with a shorter side of 256 looks at them."""
    rows = []
    for codec in PICTURES:
        sizes = [len(recode(path.read_bytes(), resize=256, codec=codec)) for path in photographs.values()]
        data = photographs["cat"].read_bytes()
        spent = 1 / _rate(lambda data=data, codec=codec: recode(data, resize=256, codec=codec), 1_000_000)  # type: ignore[misc]
        rows.append((codec, *(f"{size:,}" for size in sizes), report.number(1000 * spent)))
    note = "The central square, 256×256 pixels. Time is that of the cat, a PNG of 451×300 pixels, decoding included."
    return report.Table("Photographs, bytes", ("codec", *photographs, "CPU ms"), rows, (note,))


def _streams() -> report.Table:
    rows = []
    for codec in STREAMS:
        whole = [len(encode(_sensor(tick), codec)) for tick in range(TICKS)]
        for label, step in (("that moves", 1), ("that rests", 0)):
            encoder, decoder = StreamEncoder(codec), StreamDecoder(max_bytes=1 << 20)
            sizes, keys = [], 0
            for tick in range(TICKS):
                coded = encoder.encode(_sensor(tick * step))
                decoder.decode(coded.frame)
                assert coded.head.key is not None
                encoder.acknowledged(coded.head.key)
                sizes.append(len(coded.frame))
                keys += coded.head.reference_key is None
            rows.append((f"{codec}, {label}", f"{np.mean(whole):,.0f}", f"{np.mean(sizes):,.0f}", str(keys)))
    note = (
        f"The sensor's tensor, {TICKS} frames, every one acknowledged. A scene that rests is the same tensor each time."
    )
    return report.Table("Streams", ("codec", "bytes a frame alone", "in the stream", "key frames"), rows, (note,))


if __name__ == "__main__":
    main()
