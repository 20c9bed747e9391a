"""A GGUF language model with its weights quantised again, to fewer bits.

Every tensor is dequantised and quantised to the wanted type by `gguf` (ggml-org). Which tensors are left as they are
is llama.cpp's rule (llama-quant.cpp, `tensor_allows_quantization`), so that its engine finds what it expects. A tensor
that has as few bits already is copied: quantised twice it would only lose. Metadata and tokenizer stay as they are.

Source of the types: ggml-quants.c; blocks of 32 weights share a scale, and in Q4_1 and Q5_1 a minimum too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, ReaderTensor

from airserve.core.call import Array
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.models.gguf_header import read_header
from airserve.models.optimise.method import Method, Original

_BLOCK = 32
_ELEMENTS_AT_ONCE = 1 << 22
# Parts of the names of matrices that llama.cpp computes with as they are: gates of experts, and what is tiny.
_KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "altup", "laurel", "per_layer_model_proj", "position_embd", "token_types",
    "ssm_conv1d", "shortconv.conv.weight", "time_mix_first", "time_mix_w0", "time_mix_w1", "time_mix_w2",
    "time_mix_v0", "time_mix_v1", "time_mix_v2", "time_mix_a0", "time_mix_a1", "time_mix_a2", "time_mix_g1",
    "time_mix_g2", "time_mix_decay_w1", "time_mix_decay_w2", "time_mix_lerp_fused", "attn_rel_b.weight",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantisation:
    """The types, as ggml names them, of a model's matrices and of its `head`: the matrix that scores the next token.

    The head is the token embedding where a model has one matrix for both. It is the most sensitive, and in a small
    model with many tokens the largest by far.
    """

    name: str
    weights: str
    head: str


QUANTISATIONS = (
    Quantisation("f16", "F16", "F16"),
    Quantisation("q8-0", "Q8_0", "Q8_0"),
    Quantisation("q5-1", "Q5_1", "Q8_0"),
    Quantisation("q5-0", "Q5_0", "Q8_0"),
    Quantisation("q4-1", "Q4_1", "Q8_0"),
    Quantisation("q4-0", "Q4_0", "Q8_0"),
    Quantisation("q5-1-all", "Q5_1", "Q5_1"),
    Quantisation("q5-0-all", "Q5_0", "Q5_0"),
    Quantisation("q4-1-all", "Q4_1", "Q4_1"),
    Quantisation("q4-0-all", "Q4_0", "Q4_0"),
)


def nothing_to_shrink(source: Path, quantisation: Quantisation) -> str | None:
    """Why the model in `source` gains nothing from the quantisation; None where it does."""
    state = source.stat()
    tensors = _tensors(source, state.st_mtime_ns, state.st_size)
    return _all_stay(tensors, _types(tensors, quantisation), quantisation)


def requantise(source: Path, target: Path, quantisation: Quantisation) -> None:
    """Write the model in the GGUF file `source` to `target` with other types of weights, whole or not at all.

    One tensor is in memory at a time, quantised. Raises `BadPackageError` for a damaged file or one with a type that
    cannot be dequantised, and `InvalidInputError` where nothing would become smaller.
    """
    reader = _read(source)
    tensors = [_tensor(each) for each in reader.tensors]
    kinds = _types(tensors, quantisation)
    if (reason := _all_stay(tensors, kinds, quantisation)) is not None:
        raise InvalidInputError(f"{source.name}: {reason}")
    unfinished = target.with_suffix(".new")
    architecture = reader.fields["general.architecture"].contents()
    writer: GGUFWriter = gguf.GGUFWriter(unfinished, architecture, endianess=reader.endianess)
    writer.data_alignment = reader.alignment
    _copy_metadata(reader, writer, quantisation)
    for tensor, kind in zip(tensors, kinds, strict=True):
        size = _bytes_of(tensor.shape, kind)
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for stored, kind in zip(reader.tensors, kinds, strict=True):
            writer.write_tensor_data(_converted(stored, kind), tensor_endianess=reader.endianess)
        writer.close()
        unfinished.replace(target)
    finally:
        writer.close()
        unfinished.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Tensor:
    """What decides about the type of a tensor; the last axis of `shape` is a row."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType


# The library reads a list of 262,144 tokens in seconds, and many quantisations ask about the same file.
@lru_cache(maxsize=4)
def _tensors(source: Path, _changed: int, _size: int) -> tuple[_Tensor, ...]:
    return tuple(_tensor(each) for each in _read(source).tensors)


def _read(source: Path) -> GGUFReader:
    # Lengths and offsets are checked there; the library trusts them.
    read_header(source)
    try:
        reader: GGUFReader = gguf.GGUFReader(source)
    except (ValueError, KeyError) as error:
        raise BadPackageError(f"{source.name} cannot be read: {str(error)[:200]}") from None
    return reader


def _tensor(tensor: ReaderTensor) -> _Tensor:
    return _Tensor(tensor.name, tuple(reversed(tensor.shape.tolist())), tensor.tensor_type)


def _types(tensors: Sequence[_Tensor], quantisation: Quantisation) -> list[GGMLQuantizationType]:
    """The type that each tensor gets."""
    names = {tensor.name for tensor in tensors}
    head = "output.weight" if "output.weight" in names else "token_embd.weight"
    return [_type_of(each, quantisation, head) for each in tensors]


def _all_stay(
    tensors: Sequence[_Tensor], kinds: Sequence[GGMLQuantizationType], quantisation: Quantisation
) -> str | None:
    if any(each.kind != kind for each, kind in zip(tensors, kinds, strict=True)):
        return None
    return f"each of its matrices has as few bits as {quantisation.name} already"


def _type_of(tensor: _Tensor, quantisation: Quantisation, head: str) -> GGMLQuantizationType:
    types = gguf.GGMLQuantizationType
    is_matrix = sum(size > 1 for size in tensor.shape) >= 2
    if not is_matrix or not tensor.name.endswith("weight") or any(part in tensor.name for part in _KEPT):
        return tensor.kind
    wanted = types[quantisation.head if tensor.name == head else quantisation.weights]
    if tensor.shape[-1] % _BLOCK:
        wanted = types.F16
    return wanted if _bits(wanted) < _bits(tensor.kind) else tensor.kind


def _bits(kind: GGMLQuantizationType) -> float:
    """Of one weight, its share of the scale included."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    return float(8 * size / elements)


def _bytes_of(shape: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    return int(np.prod(shape, dtype=np.int64)) // int(elements) * int(size)


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter, quantisation: Quantisation) -> None:
    keys, kinds = gguf.Keys.General, gguf.GGUFValueType
    replaced = (keys.ARCHITECTURE, keys.FILE_TYPE, keys.QUANTIZATION_VERSION)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in replaced:
            continue
        kind = field.types[0]
        # An empty list has no type of its elements any more; of which one it is none makes no difference.
        part = (field.types[-1] if len(field.types) > 1 else kinds.UINT8) if kind == kinds.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=part)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{quantisation.weights}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _converted(tensor: ReaderTensor, kind: GGMLQuantizationType) -> Array:
    """The tensor's bytes in the type `kind`, made some rows at a time: in FP32 one can be larger than the model."""
    data: Array = tensor.data
    if kind == tensor.tensor_type:
        return np.ascontiguousarray(data)
    quants = gguf.quants
    rows = data.reshape(-1, data.shape[-1])
    step = max(1, _ELEMENTS_AT_ONCE // int(tensor.shape[0]))
    converted = np.empty((len(rows), _bytes_of((int(tensor.shape[0]),), kind)), np.uint8)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        try:
            weights = quants.dequantize(np.ascontiguousarray(rows[part]), tensor.tensor_type)
        except NotImplementedError:
            raise BadPackageError(
                f"{tensor.name} is of the type {tensor.tensor_type.name}, which cannot be quantised again; begin with "
                "the model's file in F16 or Q8_0"
            ) from None
        converted[part] = np.ascontiguousarray(quants.quantize(weights, kind)).view(np.uint8).reshape(len(weights), -1)
    return converted


def _fits(original: Original, quantisation: Quantisation) -> str | None:
    return nothing_to_shrink(original.file, quantisation)


def _make(original: Original, target: Path, quantisation: Quantisation) -> None:
    requantise(original.file, target, quantisation)


def _what(quantisation: Quantisation) -> str:
    if quantisation.head == quantisation.weights:
        return f"all matrices in {quantisation.weights}"
    return f"matrices in {quantisation.weights}, the one that scores the next token in {quantisation.head}"


METHODS = tuple(
    Method(
        name=each.name,
        what=_what(each),
        fits=partial(_fits, quantisation=each),
        make=partial(_make, quantisation=each),
        steps=20,
    )
    for each in QUANTISATIONS
)
