from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2, service_pb2

from airserve.core.call import Reply, Timings
from airserve.core.errors import OverloadedError
from airserve.models.catalog import DeploymentSpec
from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.protocols.open_inference import model_config, model_statistics
from airserve.serving.version import Loading, Version


def version(engine: str = "onnx", max_batch: int = 8, datatype: str = "FP32") -> Version:
    manifest = Manifest(
        name="m",
        engine=engine,
        inputs=(Tensor("x", datatype, (-1, 4)),),
        outputs=(Tensor("y", "BYTES", (-1,)),),
        variants=(Variant("original", "model.onnx", 123),),
        max_batch=max_batch,
    )

    def never(version: Version, until_ns: int) -> Loading:
        raise AssertionError("nothing here loads a model")

    return Version(DeploymentSpec("m", 3, "address", Path("m"), manifest, ("prod",)), never)


@pytest.mark.parametrize(
    "datatype",
    ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP64", "BYTES"],
)
def test_the_configuration_is_tritons_message(datatype: str) -> None:
    config = json_format.ParseDict(model_config(version(datatype=datatype)), model_config_pb2.ModelConfig())
    assert config.max_batch_size == 8
    assert list(config.input[0].dims) == [4]
    assert list(config.output[0].dims) == []
    expected = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    assert model_config_pb2.DataType.Name(config.input[0].data_type) == expected
    assert list(config.version_policy.specific.versions) == [3]
    assert config.HasField("dynamic_batching")
    assert not config.model_transaction_policy.decoupled


def test_a_model_that_does_not_batch_keeps_its_first_axis() -> None:
    config = json_format.ParseDict(model_config(version(max_batch=0)), model_config_pb2.ModelConfig())
    assert list(config.input[0].dims) == [-1, 4]
    assert not config.HasField("dynamic_batching")


def test_a_model_that_generates_text_is_decoupled() -> None:
    config = json_format.ParseDict(model_config(version("llama", 0)), model_config_pb2.ModelConfig())
    assert config.model_transaction_policy.decoupled
    assert config.platform == "llamacpp_gguf"


def test_the_statistics_are_tritons_message() -> None:
    counted = version()
    seen = counted.statistics
    reply = Reply("m", "3", {}, Timings(queue_ns=5, compute_ns=100, batch_rows=6))
    seen.batch(6, 100, calls=2, input_ns=10, output_ns=1)
    seen.batch(1, None)
    seen.call(4, 150, reply)
    seen.call(2, 160, reply)
    seen.call(1, 7, OverloadedError("full"))
    message = json_format.ParseDict(model_statistics(counted), service_pb2.ModelStatistics())
    stats = message.inference_stats
    assert (message.name, message.version) == ("m", "3")
    assert (message.inference_count, message.execution_count) == (6, 1)
    assert (stats.success.count, stats.success.ns) == (2, 310)
    assert (stats.fail.count, stats.fail.ns) == (1, 7)
    assert (stats.queue.count, stats.queue.ns) == (2, 10)
    # Each call of a batch saw the whole batch's time; the run itself counts once.
    assert (stats.compute_input.count, stats.compute_input.ns) == (2, 20)
    assert (stats.compute_infer.count, stats.compute_infer.ns) == (2, 200)
    assert (stats.compute_output.count, stats.compute_output.ns) == (2, 2)
    (batch,) = message.batch_stats
    assert (batch.batch_size, batch.compute_infer.count, batch.compute_infer.ns) == (6, 1, 100)
    assert (stats.cache_hit.count, stats.cache_miss.count) == (0, 0)
    assert message.last_inference > 1_700_000_000_000
    # Its weights are not in memory.
    assert not message.memory_usage
