"""Which importer a file or folder is for, by what it is called and what lies in it."""

from __future__ import annotations

from pathlib import Path

from airserve.core.call import Array
from airserve.core.errors import BadPackageError, NotFoundError
from airserve.models.formats import refuse_unsafe
from airserve.models.gguf_import import package_gguf
from airserve.models.importers.encoder_folder import import_encoder
from airserve.models.importers.imported import Imported
from airserve.models.importers.sklearn_estimator import import_estimator
from airserve.models.onnx_import import package_onnx
from airserve.models.package import open_package

_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin")


def import_file(
    path: Path, folder: Path, *, name: str, max_batch: int | None = None, sample: Array | None = None
) -> Imported:
    """Make a package in `folder` of the model at `path`: `.onnx`, `.skops`, `.gguf`, or a folder of Hugging Face.

    `sample` is rows to check a scikit-learn estimator with. Raises `BadPackageError` for what cannot be imported, with
    the reason and what to do instead.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist")
    if path.is_dir():
        return import_encoder(path, folder, name=name, max_batch=max_batch)
    refuse_unsafe(path)
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        package_onnx(path, folder, name=name, max_batch=max_batch)
        return Imported("ONNX", folder, open_package(folder).manifest)
    if suffix == ".skops":
        return import_estimator(path, folder, name=name, max_batch=max_batch, sample=sample)
    if suffix == ".gguf":
        package_gguf(path, folder, name=name)
        return Imported("GGUF", folder, open_package(folder).manifest)
    raise BadPackageError(f"{path.name} is not imported: {_refusal(suffix)}")


def _refusal(suffix: str) -> str:
    if suffix in _PICKLES:
        return (
            "it may be a pickle, and a pickle can run any code when it is loaded. Save a scikit-learn estimator with "
            "skops.io.dump, the weights of a Hugging Face model as safetensors, and a PyTorch module with "
            "airserve.models.importers.torch_module.import_module where its code is"
        )
    if suffix == ".pt2":
        return (
            "torch.export.load can run code that the file brings (it unpickles some of it). Where the program was "
            "made, export it with torch.onnx.export, and import the .onnx"
        )
    if suffix == ".safetensors":
        return (
            "weights alone do not say what the model computes; give the folder with its config.json and tokenizer.json"
        )
    if suffix == ".py":
        return "code of your own needs no import; airserve publish takes it as it is"
    return "known are .onnx, .skops, .gguf and a folder with config.json, model.safetensors and tokenizer.json"
