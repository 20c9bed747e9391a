"""Reading the graph of an original, and writing that of a variant so that a service takes it."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from airserve.core.errors import BadPackageError
from airserve.models.optimise.method import Original


def read_graph(original: Original) -> onnx.ModelProto:
    """The original's graph. Raises `BadPackageError` for what is none."""
    try:
        return onnx.load(original.file)
    except DecodeError:
        raise BadPackageError(f"{original.variant.file} is no ONNX model") from None


def kinds(original: Original) -> set[str]:
    """The kinds of operations in the graph: "Conv", "MatMul" …"""
    return {node.op_type for node in read_graph(original).graph.node}


@contextmanager
def without_advice() -> Iterator[None]:
    """Meanwhile nobody logs or prints: tools that convert graphs advise those who tune them, wherever it may go."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def write_graph(model: onnx.ModelProto, file: Path) -> None:
    """Save it without the sets of operators that it does not use: a service refuses those that it does not know."""
    used = {"", *(node.domain for node in model.graph.node)}
    kept = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, file)
