"""JSON rows: lists of values, objects by name of column or input, or `{"inputs": …}`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import Signature, TensorSpec
from airserve.protocols.plain.arrays import from_lists

_decode = msgspec.json.Decoder().decode


def rows_from_json(body: bytes | memoryview, signature: Signature, columns: Sequence[str]) -> Tensors:
    """The inputs by name, their shapes not yet checked: one row alone still lacks its first axis."""
    try:
        given = _decode(body)
    except RecursionError:
        raise InvalidInputError("the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the body is no JSON: {error}") from None
    if isinstance(given, dict) and given.keys() == {"inputs"} and not _names(signature, given):
        given = given["inputs"]
        if isinstance(given, dict):
            return _by_input(given, signature)
    if isinstance(given, dict):
        return _objects([given], signature, columns, alone=True)
    if isinstance(given, list) and given and all(isinstance(row, dict) for row in given):
        return _objects(given, signature, columns, alone=False)
    if len(signature.inputs) != 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise InvalidInputError(f"the model has the inputs {names}; send rows as objects with these names")
    (spec,) = signature.inputs
    return {spec.name: from_lists(given, spec)}


def plain_name(column: str) -> str:
    """How a column may be called in JSON too: `sepal length (cm)` is `sepal_length`."""
    return re.sub(r"\W+", "_", re.sub(r"\(.*?\)", "", column)).strip("_").lower()


def _names(signature: Signature, given: Mapping[str, Any]) -> bool:
    return given.keys() == {spec.name for spec in signature.inputs}


def _by_input(given: Mapping[str, Any], signature: Signature) -> Tensors:
    specs = {spec.name: spec for spec in signature.inputs}
    _same_names(given, specs, "input")
    return {name: from_lists(given[name], spec) for name, spec in specs.items()}


def _objects(
    rows: Sequence[Mapping[str, Any]], signature: Signature, columns: Sequence[str], *, alone: bool
) -> Tensors:
    if not columns or _names(signature, rows[0]):
        return _stacked(rows, signature, alone)
    (spec,) = signature.inputs
    values = _by_column(rows, columns)
    return {spec.name: from_lists(values[0] if alone else values, spec)}


def _by_column(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[list[Any]]:
    """The values of each row in the order of `columns`."""
    plain = [plain_name(column) for column in columns]
    # Where two columns have one plain name, only their whole names tell them apart.
    known = {name: name for name in columns}
    known |= {short: column for short, column in zip(plain, columns, strict=True) if plain.count(short) == 1}
    values = []
    for number, row in enumerate(rows):
        found = {known.get(name, name): value for name, value in row.items()}
        _same_names(found, columns, "column", f" of row {number}")
        values.append([found[column] for column in columns])
    return values


def _stacked(rows: Sequence[Mapping[str, Any]], signature: Signature, alone: bool) -> Tensors:
    """A tensor an input; a number stands for a row of one value."""
    for number, row in enumerate(rows):
        _same_names(row, [spec.name for spec in signature.inputs], "input", f" of row {number}")
    if alone:
        return {spec.name: _row(rows[0][spec.name], spec) for spec in signature.inputs}
    return {spec.name: from_lists([_listed(row[spec.name], spec) for row in rows], spec) for spec in signature.inputs}


def _row(value: Any, spec: TensorSpec) -> Array:
    return from_lists(_listed(value, spec), spec)


def _listed(value: Any, spec: TensorSpec) -> Any:
    return [value] if spec.shape[1:] == (1,) and not isinstance(value, list) else value


def _same_names(
    given: Mapping[str, Any], wanted: Sequence[str] | Mapping[str, Any], what: str, where: str = ""
) -> None:
    missing = [name for name in wanted if name not in given]
    strange = [str(name)[:80] for name in given if name not in wanted]
    if missing or strange:
        parts = [f"{what}s{where} are missing: {', '.join(missing[:8])}"] if missing else []
        parts += [f"{what}s{where} are not known: {', '.join(strange[:8])}"] if strange else []
        raise InvalidInputError(f"{'; '.join(parts)}; the model has {', '.join(list(wanted)[:64])}")
