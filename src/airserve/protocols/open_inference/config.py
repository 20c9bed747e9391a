"""A model's configuration in the fields of Triton's `ModelConfig`: what perf_analyzer and dashboards ask for.

Source: Triton's extension_model_configuration.md and model_config.proto; names are those of the proto, snake_case.
"""

from __future__ import annotations

from typing import Any

from airserve.core.tensor import TensorSpec
from airserve.engines import generates
from airserve.protocols.open_inference.metadata import platform
from airserve.serving.allowance import accuracy_of
from airserve.serving.deployment import Deployment
from airserve.serving.generation import GenerationDeployment
from airserve.serving.service import Served

_TYPE_OF = {"BYTES": "TYPE_STRING"}


def model_config(served: Served) -> dict[str, Any]:
    """The configuration of what is served. `dims` leave the batch out where the model batches.

    The parameter `variants` has those that are served, where they are several, with the accuracy of each.
    An instance runs one batch, or one generation, at a time; there is none while the weights are not in memory.
    """
    manifest, signature = served.spec.manifest, served.signature
    batched = signature.max_batch > 0
    streams = generates(manifest.engine)
    config: dict[str, Any] = {
        "name": manifest.name,
        "platform": platform(manifest.engine),
        "backend": manifest.engine,
        "version_policy": {"specific": {"versions": [served.spec.version]}},
        "max_batch_size": signature.max_batch,
        "input": [{**_tensor(spec, batched), "optional": False} for spec in signature.inputs],
        "output": [_tensor(spec, batched) for spec in signature.outputs],
        "instance_group": [{"name": manifest.name, "kind": "KIND_CPU", "count": _instances(served)}],
        "default_model_filename": manifest.best.file,
        "model_transaction_policy": {"decoupled": streams},
        "response_cache": {"enable": False},
    }
    if len(manifest.served) > 1:
        variants = ",".join(f"{each.name}:{accuracy_of(each):g}" for each in manifest.served)
        config["parameters"] = {"variants": {"string_value": variants}}
    if signature.max_batch > 1 and not streams:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": 0}
    return config


def _instances(served: Served) -> int:
    if isinstance(served, Deployment):
        return served.warm.workers
    return served.generator.slots if isinstance(served, GenerationDeployment) else 0


def _tensor(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    return {
        "name": spec.name,
        "data_type": _TYPE_OF.get(spec.datatype, f"TYPE_{spec.datatype}"),
        "dims": list(spec.shape[1:] if batched else spec.shape),
        "is_shape_tensor": False,
    }
