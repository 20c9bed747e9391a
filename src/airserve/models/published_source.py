"""What is published, as a package in a folder: made of a bare graph, a GGUF file or Python, or unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from airserve.core.errors import NotFoundError
from airserve.models.archive import unpacked
from airserve.models.gguf_import import DEFAULT_DEADLINE_MS, package_gguf
from airserve.models.manifest import FILE_NAME as MANIFEST_NAME
from airserve.models.names import check_name, name_of
from airserve.models.onnx_import import package_onnx
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.package import open_package, write_package
from airserve.models.python_package import is_python_source, package_python


@contextmanager
def as_folder(path: Path, scratch: Path, changes: dict[str, Any], limits: OnnxLimits) -> Iterator[Path]:
    """The package to publish as a folder: made from a bare graph, unpacked, or with its manifest changed."""
    if path.suffix == ".onnx":
        if not path.is_file():
            raise NotFoundError(f"{path} does not exist")
        name = changes.get("name") or name_of(path)
        folder = package_onnx(
            path, scratch / "made", name=check_name(name), max_batch=changes.get("max_batch"), limits=limits
        )
        changes = {field: value for field, value in changes.items() if field in ("default_deadline_ms", "sealed")}
        yield _changed(folder, scratch, changes)
        return
    if path.suffix == ".gguf":
        name = check_name(changes.pop("name", None) or name_of(path))
        deadline_ms = changes.pop("default_deadline_ms", DEFAULT_DEADLINE_MS)
        yield _changed(
            package_gguf(path, scratch / "made", name=name, default_deadline_ms=deadline_ms), scratch, changes
        )
        return
    if is_python_source(path):
        name = check_name(changes.get("name") or name_of(path))
        made = package_python(path, scratch / "made", name=name, max_batch=changes.get("max_batch"))
        yield _changed(made, scratch, changes)
        return
    with unpacked(path, scratch) as folder:
        yield _changed(folder, scratch, changes)


def _changed(folder: Path, scratch: Path, changes: dict[str, Any]) -> Path:
    if not changes:
        return folder
    package = open_package(folder)
    if package.manifest.sealed is not None:
        changes = {field: value for field, value in changes.items() if field != "sealed"}
    manifest = msgspec.structs.replace(package.manifest, **changes)
    files = {file: folder / file for file in package.files if file != MANIFEST_NAME}
    return write_package(scratch / "changed", manifest, files)
