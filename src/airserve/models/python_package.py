"""Make a package of a `model.py`, or of a folder with one, without running it.

What the model takes and gives stands in an `airserve.toml` beside it, or in the class itself:

    class Model:
        inputs = {"x": ("FP32", [-1, 4])}
        outputs = {"y": ("FP32", [-1])}
        max_batch = 32

The values are literals, read from the syntax tree.
"""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec

from airserve.core.errors import BadPackageError, NotFoundError
from airserve.engines.options import Python
from airserve.models.manifest import DEFAULT_MAX_BATCH, Manifest, Tensor, Variant, read_manifest
from airserve.models.manifest import FILE_NAME as MANIFEST_NAME
from airserve.models.package import SUMS_NAME, write_package

MODULE_NAME = "model.py"
_DECLARED = ("inputs", "outputs", "max_batch")


class _Declared(msgspec.Struct, forbid_unknown_fields=True):
    """What the class says of itself: name → (datatype, shape)."""

    inputs: dict[str, tuple[str, tuple[int, ...]]]
    outputs: dict[str, tuple[str, tuple[int, ...]]]
    max_batch: int | None = None


def is_python_source(path: Path) -> bool:
    """Whether `path` is a `.py` file, or a folder with a `model.py` that is no finished package."""
    if path.is_dir():
        return (path / MODULE_NAME).is_file() and not (path / SUMS_NAME).exists()
    return path.suffix == ".py"


def package_python(path: Path, folder: Path, *, name: str, max_batch: int | None = None) -> Path:
    """Make a package in `folder` of the file or folder `path`. `name` is for a model whose manifest has none.

    Of a folder every file goes along, but hidden ones and caches. Raises `BadPackageError` with what is missing.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist")
    files = _files(path) if path.is_dir() else {MODULE_NAME: path}
    module = files[MODULE_NAME]
    variant = Variant("code", MODULE_NAME, module.stat().st_size)
    written = files.pop(MANIFEST_NAME, None)
    if written is None:
        declared = read_declaration(module, Python().attribute)
        manifest = Manifest(
            name=name,
            engine="python",
            inputs=_tensors(declared.inputs),
            outputs=_tensors(declared.outputs),
            variants=(variant,),
            max_batch=_max_batch(declared) if max_batch is None else max_batch,
        )
    else:
        manifest = read_manifest(written.read_bytes())
        if manifest.engine != "python":
            raise BadPackageError(f"{MANIFEST_NAME} says engine '{manifest.engine}'; {MODULE_NAME} needs 'python'")
        manifest = msgspec.structs.replace(manifest, variants=manifest.variants or (variant,))
        if max_batch is not None:
            manifest = msgspec.structs.replace(manifest, max_batch=max_batch)
    return write_package(folder, manifest, files)


def read_declaration(path: Path, attribute: str) -> _Declared:
    """The literals of class `attribute` in the file `path`, which is parsed and not run."""
    try:
        tree = ast.parse(path.read_bytes(), filename=path.name)
    except (SyntaxError, ValueError) as error:
        raise BadPackageError(f"{path.name} is no Python: {error}") from None
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == attribute), None)
    if found is None:
        raise BadPackageError(f"{path.name} has no class '{attribute}'; write one with load and predict")
    declared = {}
    for statement in found.body:
        name, value = _assignment(statement)
        if name in _DECLARED and value is not None:
            try:
                declared[name] = ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                raise BadPackageError(
                    f"{path.name}, line {statement.lineno}: '{name}' must be written out, since the code is not run; "
                    f"or describe the model in {MANIFEST_NAME}"
                ) from None
    if missing := [name for name in ("inputs", "outputs") if name not in declared]:
        raise BadPackageError(
            f"class '{attribute}' in {path.name} does not say its {' and '.join(missing)}; write for example "
            f'{missing[0]} = {{"x": ("FP32", [-1, 4])}} in it, or describe the model in {MANIFEST_NAME}'
        )
    try:
        return msgspec.convert(declared, _Declared)
    except msgspec.ValidationError as error:
        raise BadPackageError(f"{path.name}: class '{attribute}': {error}") from None


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id, statement.value
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return target.id, statement.value
    return "", None


def _max_batch(declared: _Declared) -> int:
    if declared.max_batch is not None:
        return declared.max_batch
    shapes = [shape for _, shape in (*declared.inputs.values(), *declared.outputs.values())]
    return DEFAULT_MAX_BATCH if all(shape[:1] == (-1,) for shape in shapes) else 0


def _tensors(declared: dict[str, tuple[str, tuple[int, ...]]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, datatype, shape) for name, (datatype, shape) in declared.items())


def _files(folder: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") or part == "__pycache__" for part in parts) or path.is_dir():
            continue
        if path.is_symlink():
            raise BadPackageError(f"{path.name} is a link; a package holds its files itself")
        found["/".join(parts)] = path
    return found
