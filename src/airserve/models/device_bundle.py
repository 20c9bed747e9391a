"""Make a device bundle of a published version: its variant for devices, or the head of a split one.

Weights leave a service only this way, and only of a model whose operator published it for devices (`device` in the
manifest), or of a head, which is made to lie on devices.
"""

from __future__ import annotations

from airserve.core.errors import NotFoundError
from airserve.core.tensor import TensorSpec
from airserve.engines.bundle import BundledTensor, Head, write_bundle
from airserve.models.catalog import DeploymentSpec
from airserve.models.manifest import Manifest, Tensor, Variant


def make_bundle(spec: DeploymentSpec) -> bytes:
    """The bundle of a version, read from the store and verified there. Computes, and reads files.

    Raises `NotFoundError` for a version that is not for devices, and `BadPackageError` for one that is damaged.
    """
    manifest = spec.manifest
    check_bundled(manifest, spec.model)
    # Making the source is what asks whether the package is trusted.
    contents = spec.source.contents
    if manifest.split is not None:
        graph = contents.read(manifest.split.head)
        return write_bundle(_head_of_split(spec, graph), {manifest.split.head: graph})
    variant = device_variant(manifest)
    assert variant is not None, "it was checked"  # noqa: S101
    files = [variant.file, *(() if manifest.text is None else (manifest.text.tokenizer,))]
    head = Head(
        model=spec.model,
        version=spec.version,
        address=spec.address,
        kind="model",
        variant=variant.name,
        weights=variant.file,
        inputs=_tensors(manifest.inputs),
        outputs=_tensors(manifest.outputs),
        max_batch=manifest.max_batch,
        labels=manifest.labels,
        vision=manifest.vision,
        text=manifest.text,
    )
    return write_bundle(head, {name: contents.read(name) for name in files})


def device_variant(manifest: Manifest) -> Variant | None:
    """The variant that devices may have; None where there is none."""
    return next((each for each in manifest.variants if each.name == manifest.device), None)


def check_bundled(manifest: Manifest, model: str) -> None:
    """Refuse a model that no device may have. Raises `NotFoundError`."""
    if manifest.sealed is not None:
        raise NotFoundError(f"model '{model}' is sealed: it runs in its worker alone, and has no bundle for devices")
    if manifest.engine != "onnx":
        raise NotFoundError(f"model '{model}' runs on the engine {manifest.engine}, and has no bundle for devices")
    if manifest.split is None and device_variant(manifest) is None:
        raise NotFoundError(f"model '{model}' is not for devices; its operator publishes it with --device to allow it")


def _head_of_split(spec: DeploymentSpec, graph: bytes) -> Head:
    manifest = spec.manifest
    assert manifest.split is not None, "it is the tail of one"  # noqa: S101
    if manifest.vision is not None:
        inputs: tuple[BundledTensor, ...] = (BundledTensor("image", "BYTES", (-1,)),)
    else:
        # A tenth of a second, for those alone who ask for the head of a split.
        import onnx

        from airserve.models.onnx_signature import signature_of

        taken, _ = signature_of(onnx.load_model_from_string(graph).graph, manifest.split.head)
        inputs = _tensors(taken)
    features = [each for each in manifest.inputs if each.name == manifest.split.tensor]
    return Head(
        model=spec.model,
        version=spec.version,
        address=spec.address,
        kind="head",
        weights=manifest.split.head,
        inputs=inputs,
        outputs=_tensors(features),
        max_batch=manifest.max_batch,
        vision=manifest.vision,
    )


def _tensors(tensors: tuple[Tensor, ...] | tuple[TensorSpec, ...] | list[Tensor]) -> tuple[BundledTensor, ...]:
    return tuple(BundledTensor(each.name, each.datatype, tuple(each.shape)) for each in tensors)
