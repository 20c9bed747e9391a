"""Whether the tensors of an opened call fit the model: what a protocol checks of a call that it can read."""

from __future__ import annotations

from collections.abc import Sequence

from airserve.core.call import Tensors
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import Signature, datatype_of


def check_inputs(inputs: Tensors, outputs: Sequence[str] | None, signature: Signature) -> int:
    """The rows of `inputs` (1 where the model does not batch). Raises `InvalidInputError` with what does not fit."""
    wanted = [spec.name for spec in signature.inputs]
    if sorted(wanted) != sorted(inputs):
        raise InvalidInputError(f"the model takes the inputs {wanted}; the call has {sorted(inputs)}")
    for spec in signature.inputs:
        array = inputs[spec.name]
        if datatype_of(array) != spec.datatype:
            raise InvalidInputError(f"input '{spec.name}' is {datatype_of(array)}; the model takes {spec.datatype}")
        if not spec.accepts(array.shape):
            raise InvalidInputError(
                f"input '{spec.name}' has shape {list(array.shape)}; the model takes {list(spec.shape)}"
            )
    known = [spec.name for spec in signature.outputs]
    if strangers := [name for name in outputs or () if name not in known]:
        raise InvalidInputError(f"the model has no output '{strangers[0][:80]}'; it has {known}")
    if not signature.max_batch:
        return 1
    rows = [int(inputs[name].shape[0]) for name in wanted]
    if min(rows) != max(rows) or not 1 <= rows[0] <= signature.max_batch:
        raise InvalidInputError(f"all inputs have the same number of rows, 1 to {signature.max_batch}")
    return rows[0]
