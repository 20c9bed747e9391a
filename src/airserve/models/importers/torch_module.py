"""A PyTorch module as ONNX, called where the module's code is: weights alone do not say what it computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from airserve.core.call import Array
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.engines.session import Session
from airserve.models.importers.imported import Imported, Parity
from airserve.models.onnx_import import package_onnx
from airserve.models.package import open_package

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-3
_OPSET = 17


def import_module(
    module: torch.nn.Module,
    sample: Array,
    folder: Path | str,
    *,
    name: str,
    outputs: Sequence[str] = ("y",),
    max_batch: int | None = None,
) -> Imported:
    """Make a package in `folder` of a module with one input, called `x`, whose first axis is the batch.

    `sample` is an input of two or more rows; the graph answers it, and other numbers of rows, as the module does, or
    nothing is written.
    """
    torch, folder = _torch(), Path(folder)
    module = module.eval()
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        export_graph(module, (torch.from_numpy(sample),), path, {"x": {0: "batch"}}, outputs)
        session = Session(path, threads=1)
        difference = 0.0
        for rows in (sample, sample[:1]):
            with torch.inference_mode():
                wanted = module(torch.from_numpy(rows))
            wanted = wanted if isinstance(wanted, tuple) else (wanted,)
            given = session.run({"x": rows}, list(outputs))
            for output, want in zip(outputs, wanted, strict=True):
                difference = max(difference, float(np.abs(given[output] - want.numpy()).max(initial=0)))
        session.close()
        if not difference <= TOLERANCE:
            raise BadPackageError(f"the exported graph differs from the module by {difference:.2g}; it is not written")
        package_onnx(path, folder, name=name, max_batch=max_batch)
    return Imported(type(module).__name__, folder, open_package(folder).manifest, Parity(len(sample), difference))


def export_graph(
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    path: Path,
    free_axes: dict[str, dict[int, str]],
    outputs: Sequence[str],
) -> None:
    """Trace `module` on `example` into `path`; `free_axes` names the inputs, in order, with their free axes."""
    torch = _torch()
    try:
        torch.onnx.export(
            module,
            example,
            path,
            input_names=list(free_axes),
            output_names=list(outputs),
            dynamic_axes={**free_axes, **{output: {0: "batch"} for output in outputs}},
            opset_version=_OPSET,
            dynamo=False,
        )
    except Exception as error:  # the exporter raises what the traced code raises
        raise BadPackageError(f"PyTorch cannot export this module: {str(error).strip()[:300]}") from None


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise InvalidInputError("PyTorch modules need torch: pip install 'airserve[torch]'") from None
    return torch
