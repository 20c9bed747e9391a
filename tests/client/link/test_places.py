"""The same answer from every place and in every codec, and an answer whatever becomes of the service."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from airserve import AsyncClient, Client
from airserve.client.link.answer import Answer
from airserve.client.link.ask import LinkOptions
from airserve.client.link.offer import parse_offer
from airserve.core.errors import InvalidInputError, UnreachableError
from airserve.models.manifest import CodecEntry, Manifest, SplitOf, Tensor, Variant
from airserve.models.package import write_package
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_linear, save_slow, save_wide

WIDTH = 512
X = np.random.default_rng(0).normal(size=(1, WIDTH)).astype(np.float32)
CODECS = ("fp16", "int8c+zstd")


def save_scaled(path: Path, factor: float, given: str, made: str) -> Path:
    """made = factor · given, of shape [-1, 4]."""
    constant = onnx.numpy_helper.from_array(np.array([factor], np.float32), "factor")
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in (given, made)]
    node = helper.make_node("Mul", [given, "factor"], [made])
    graph = helper.make_graph([node], path.stem, tensors[:1], tensors[1:], [constant])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def save_quick(path: Path) -> Path:
    """What `slow` computes, at once: y = max(x)."""
    node = helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [])
    graph = helper.make_graph([node], "quick", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`wide` with codecs and a device variant, `slow` with a quick one, `given` as it is, `linear` with a split."""
    folder = tmp_path_factory.mktemp("placed")
    state = ("--state-dir", str(folder / "state"), "--json")
    np.save(folder / "sample.npy", np.random.default_rng(1).normal(size=(20, WIDTH)).astype(np.float32))
    airserve(
        "publish", str(save_wide(folder / "wide.onnx", WIDTH)), *state, "--codecs", ",".join(CODECS),
        "--data", str(folder / "sample.npy"), "--device", str(save_wide(folder / "small.onnx", WIDTH, 1.001)),
    )  # fmt: skip
    slow, quick = save_slow(folder / "slow.onnx"), save_quick(folder / "quick.onnx")
    manifest = Manifest(
        name="slow",
        engine="onnx",
        inputs=(Tensor("x", "FP32", (1,)),),
        outputs=(Tensor("y", "FP32", ()),),
        variants=(
            Variant("whole", "model.onnx", slow.stat().st_size, 0.9, "top-1"),
            Variant("quick", "quick.onnx", quick.stat().st_size, 0.45, "top-1"),
        ),
        device="quick",
    )
    made = write_package(folder / "slow", manifest, {"model.onnx": slow, "quick.onnx": quick})
    airserve("publish", str(made), *state)
    airserve("publish", str(save_linear(folder / "given.onnx")), *state, "--device", "same")
    whole = airserve("publish", str(save_linear(folder / "linear.onnx")), *state)
    tail, head = save_scaled(folder / "tail.onnx", 4.0, "h", "y"), save_scaled(folder / "head.onnx", 0.5, "x", "h")
    manifest = Manifest(
        name="linear.tail-1",
        engine="onnx",
        inputs=(Tensor("h", "FP32", (-1, 4)),),
        outputs=(Tensor("y", "FP32", (-1, 4)),),
        variants=(Variant("tail", "model.onnx", tail.stat().st_size),),
        max_batch=8,
        codecs=(CodecEntry("h", "fp16", 0.999, "cosine", 8.0),),
        split=SplitOf("linear", whole["address"], "head.onnx", "h", 0.25, 0.999, "cosine"),
    )
    made = write_package(folder / "tail", manifest, {"model.onnx": tail, "head.onnx": head})
    airserve("publish", str(made), *state)
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def test_every_place_and_codec_gives_the_same_answer(placed: Service, tmp_path: Path) -> None:
    only: list[LinkOptions] = [{"codec": "raw", "place": "cloud"}, {"place": "device"}]
    only += [{"codec": codec, "place": "cloud"} for codec in CODECS]
    with Client(placed.url, placed.key, cache=tmp_path) as client:
        assert client.prepare("wide").places == ("cloud", "device")
        for options in only:
            answer = client.infer("wide", {"x": X}, accuracy=0.9, **options)
            np.testing.assert_allclose(answer["y"], X, atol=0.05)
            assert answer.place == options["place"]
            assert answer.codec == options.get("codec", "raw")
            assert answer.accuracy is not None
            assert answer.accuracy >= 0.9
        known = client.infer("wide", {"x": X}, explain=True).explanation
    assert {(each.place, each.codec) for each in known} == {
        ("cloud", "raw"), ("cloud", "fp16"), ("cloud", "int8c+zstd"), ("device", "raw"),
    }  # fmt: skip
    sizes = {each.codec: each.up_bytes for each in known if each.place == "cloud"}
    assert sizes["int8c+zstd"] < sizes["fp16"] < sizes["raw"]


def test_the_served_weights_answer_on_a_device_for_whoever_asks_for_no_accuracy(
    placed: Service, tmp_path: Path
) -> None:
    x = np.array([[1, 2, 3, 4]], np.float32)
    with Client(placed.url, placed.key, cache=tmp_path) as client:
        assert client.prepare("given").places == ("cloud", "device")
        answer = client.infer("given", {"x": x}, place="device")
        np.testing.assert_array_equal(answer["y"], 2 * x)
        assert (answer.place, answer.accuracy) == ("device", 1.0)


def test_a_split_gives_the_whole_models_answer(placed: Service, tmp_path: Path) -> None:
    with Client(placed.url, placed.key, cache=tmp_path) as client:
        assert client.prepare("linear").places == ("cloud", "split")
        x = np.array([[1, 2, 3, 4]], np.float32)
        answer = client.infer("linear", {"x": x}, place="split", codec="fp16")
        np.testing.assert_array_equal(answer["y"], 2 * x)
        assert (answer.place, answer.codec) == ("split", "fp16")


def test_what_there_is_not_is_refused_with_what_there_is(placed: Service, tmp_path: Path) -> None:
    with Client(placed.url, placed.key, cache=tmp_path) as client:
        with pytest.raises(InvalidInputError, match="cloud int8c"):
            client.infer("wide", {"x": X}, codec="int2c")
        with pytest.raises(InvalidInputError, match="floor"):
            client.infer("slow", {"x": X[0, :1]}, place="device", accuracy=0.9)


def test_an_interrupted_download_goes_on_where_it_ended(placed: Service, tmp_path: Path) -> None:
    with Client(placed.url, placed.key, cache=tmp_path) as client:
        size = client.prepare("wide").bundle_bytes
    (bundle,) = (tmp_path / "bundles").iterdir()
    content = bundle.read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (size, bundle.name)
    bundle.unlink()
    begun = bundle.with_name(f"{bundle.name}.part")
    begun.write_bytes(content[:1000])
    with Client(placed.url, placed.key, cache=tmp_path) as client:
        assert client.prepare("wide").device_ms is not None
    assert bundle.read_bytes() == content
    assert not begun.exists()


def test_a_slow_service_is_answered_for_at_the_deadline(placed: Service, tmp_path: Path) -> None:
    x = np.full(1, 3.0, np.float32)
    with Client(placed.url, placed.key, cache=tmp_path) as client:
        client.prepare("slow")
        patient = client.infer("slow", {"x": x}, deadline=30, fallback="device")
        assert (patient.place, patient.accuracy, patient.model_accuracy) == ("cloud", 1.0, 0.9)
        hurried = client.infer("slow", {"x": x}, deadline=0.03, fallback="device")
        assert (hurried.place, hurried.accuracy) == ("device", 0.5)
        assert patient["y"] == hurried["y"] == 3.0


def test_a_service_that_dies_is_answered_for_and_so_is_one_that_was_never_there(tmp_path: Path) -> None:
    folder, cache, x = tmp_path / "own", tmp_path / "cache", np.ones((1, 4), np.float32)
    airserve("publish", str(save_linear(tmp_path / "linear.onnx")), "--state-dir", str(folder), "--json",
             "--device", str(save_linear(tmp_path / "small.onnx")))  # fmt: skip
    service = start_service(folder, "--no-demo")

    async def run() -> list[Answer]:
        async with AsyncClient(service.url, service.key, cache=cache) as client:
            await client.prepare("linear")
            before = await client.infer("linear", {"x": x}, place="cloud")
            service.process.send_signal(signal.SIGKILL)
            service.process.wait()
            after = [await client.infer("linear", {"x": x}, deadline=5, fallback="device") for _ in range(4)]
            with pytest.raises(UnreachableError):
                await client.infer("linear", {"x": x}, place="cloud", timeout_ms=2000)
            assert not client.link.reachable
            return [before, *after]

    before, *after = asyncio.run(run())
    assert before.place == "cloud"
    with Client(service.url, service.key, cache=cache) as client:
        after.append(client.infer("linear", {"x": x}, fallback="device"))
        with pytest.raises(UnreachableError):
            client.infer("linear", {"x": x}, place="cloud", timeout_ms=2000)
    for answer in after:
        assert answer.place == "device"
        np.testing.assert_array_equal(answer["y"], 2 * x)


def test_offers_are_read_as_the_service_writes_them(placed: Service) -> None:
    wide, slow = (
        parse_offer(httpx.get(f"{placed.url}/v2/models/{model}/places", headers=placed.headers).content)
        for model in ("wide", "slow")
    )
    assert wide.device is not None
    assert {each.codec for each in wide.codecs if each.tensor == "x"} == set(CODECS)
    assert slow.device_accuracy() == 0.5
