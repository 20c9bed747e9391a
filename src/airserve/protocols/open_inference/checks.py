"""What REST and gRPC ask of every infer request: it fits the model's signature, and its parameters are in order.

Every refusal is an `InvalidInputError` unless said otherwise, in Triton's words where it has any, because clients
look for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airserve.core.call import VariantAsked
from airserve.core.errors import InvalidInputError, NotImplementedHereError
from airserve.core.tensor import Signature, TensorSpec, element_count
from airserve.protocols.open_inference.classification import check_classes

SHARED_MEMORY = "shared_memory_region"
NO_SHARED_MEMORY = "shared memory is not offered: tenants share this machine; send the data itself"

_NOTHING: Mapping[str, Any] = {}
_MAX_ID = 256


def spec_of(model: str, specs: Mapping[str, TensorSpec], name: str, given: Iterable[str]) -> TensorSpec:
    """The specification of the input `name`, which is none of those `given` before."""
    if name not in specs:
        raise InvalidInputError(f"unexpected inference input '{name[:80]}' for model '{model}'")
    if name in given:
        raise InvalidInputError(f"inference input '{name}' is given twice for model '{model}'")
    return specs[name]


def check_input(model: str, spec: TensorSpec, datatype: str, shape: Sequence[int]) -> None:
    """Refuse an input whose datatype or shape is not the specification's."""
    if datatype != spec.datatype:
        raise InvalidInputError(
            f"inference input '{spec.name}' data-type is '{datatype[:20]}', but model '{model}' "
            f"expects '{spec.datatype}'"
        )
    # A wrong rank is refused before any product of its sizes, which a hostile shape makes expensive.
    if len(shape) == len(spec.shape):
        element_count(shape, spec.name)
    if not spec.accepts(shape):
        raise InvalidInputError(
            f"unexpected shape for input '{spec.name}' for model '{model}'. "
            f"Expected {_compact(spec.shape)}, got {_compact(shape[:16])}"
        )


def check_all_given(model: str, wanted: Sequence[str], given: Sequence[str]) -> None:
    """Refuse a request that leaves an input out."""
    missing = [name for name in wanted if name not in given]
    if missing:
        raise InvalidInputError(
            f"expected {len(wanted)} inputs but got {len(given)} inputs for model '{model}'. "
            f"Got input(s) {list(given)}, but missing required input(s) {missing}. "
            "Please provide all required input(s)."
        )


def count_rows(model: str, signature: Signature, shapes: Iterable[Sequence[int]]) -> int:
    """The batch size that the `shapes` of all inputs agree on; 1 where the model does not batch."""
    if not signature.max_batch:
        return 1
    rows = {shape[0] for shape in shapes}
    if len(rows) != 1:
        raise InvalidInputError(f"the inputs of model '{model}' have different batch sizes: {sorted(rows)}")
    (count,) = rows
    if not 1 <= count <= signature.max_batch:
        bound = f"<= {signature.max_batch}" if count else ">= 1"
        raise InvalidInputError(f"inference request batch-size must be {bound} for '{model}'")
    return count


def check_output(
    model: str, signature: Signature, name: str, parameters: Mapping[str, Any], given: Iterable[str]
) -> int:
    """The number of classes that are asked of the output `name`, 0 for the tensor itself.

    Refuses an output that the model lacks, or that is among those `given` before; shared memory with
    `NotImplementedHereError`.
    """
    spec = next((spec for spec in signature.outputs if spec.name == name), None)
    if spec is None:
        raise InvalidInputError(f"unexpected inference output '{name[:80]}' for model '{model}'")
    if name in given:
        raise InvalidInputError(f"inference output '{name}' is asked for twice for model '{model}'")
    if SHARED_MEMORY in parameters:
        raise NotImplementedHereError(NO_SHARED_MEMORY)
    return check_classes(model, spec, parameters.get("classification", 0), batched=signature.max_batch > 0)


def refuse_reserved(parameters: Mapping[str, Any], allowed: Iterable[str] = ()) -> None:
    """Refuse parameters that only the server may set, except those `allowed`, and sequences, which are not offered."""
    for name in parameters:
        if name.startswith("triton_") and name not in allowed:
            raise InvalidInputError(f"parameter '{name[:80]}' is reserved and may not be set by clients")
    if parameters.get("sequence_id") or parameters.get("sequence_start") or parameters.get("sequence_end"):
        raise InvalidInputError("sequences are not offered: no model here keeps state between calls")


def timeout_us(parameters: Mapping[str, Any]) -> int | None:
    """The parameter `timeout`, in microseconds."""
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if not isinstance(timeout, int) or isinstance(timeout, bool) or not 0 <= timeout < 1 << 53:
        raise InvalidInputError("parameter 'timeout' is an integer number of microseconds")
    return timeout


def variant_asked(parameters: Mapping[str, Any]) -> VariantAsked | None:
    """The parameters `variant` and `min_accuracy`; None where there is neither."""
    name, least = parameters.get("variant"), parameters.get("min_accuracy")
    if name is None and least is None:
        return None
    if name is not None and not isinstance(name, str):
        raise InvalidInputError("parameter 'variant' is the name of a variant")
    if least is not None and (isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least < 1e9):
        raise InvalidInputError("parameter 'min_accuracy' is a number such as 0.99, the least accuracy of an answer")
    return VariantAsked(name, least)


def check_id(id_: str) -> str:
    """The id of a request, which comes back with its answer: short, and of characters that can be seen."""
    if len(id_) > _MAX_ID or not id_.isprintable():
        raise InvalidInputError(f"'id' is at most {_MAX_ID} printable characters; leave it out or shorten it")
    return id_


def flag(parameters: Mapping[str, Any] | None, name: str, default: bool = False) -> bool:
    """A parameter that is true or false."""
    value = (parameters or _NOTHING).get(name, default)
    if not isinstance(value, bool):
        raise InvalidInputError(f"parameter '{name}' is true or false")
    return value


def _compact(shape: Sequence[int]) -> str:
    text = "[" + ",".join(map(str, shape)) + "]"
    return text if len(text) <= 120 else text[:117] + "..."
