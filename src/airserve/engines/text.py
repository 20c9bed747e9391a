"""The `[text]` step: strings in, one embedding each out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding, Tokenizer

from airserve.core.call import Array, Tensors
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.core.tensor import Signature
from airserve.engines.options import Text
from airserve.engines.session import Session

RUN_TOKENS = 10
"""A run of the graph costs about as much as so many tokens, however short its texts are."""

_TAKES = {"input_ids", "attention_mask", "token_type_ids"}
_MOST_CHARACTERS_A_TOKEN = 100
_EXAMPLE = "Send me the invoice of last month, please, and tell me how the bill can be paid."


class TextModel:
    """An encoder behind the step: `text` BYTES [n] -> `embedding` FP32 [n, d] and `tokens` INT32 [n].

    `tokens` counts the special ones too. The embedding is what the graph gives, which normalises it or does not.
    """

    def __init__(self, session: Session, signature: Signature, text: Text, tokenizer: bytes) -> None:
        if strangers := set(session.inputs) - _TAKES:
            raise BadPackageError(f"a [text] model takes {', '.join(sorted(_TAKES))}, not {', '.join(strangers)}")
        self.signature = signature
        self._session = session
        self._longest = text.max_tokens * _MOST_CHARACTERS_A_TOKEN
        self._output = embedding_output(session)
        self._tokenizer = _tokenizer(tokenizer, text)

    def run(self, inputs: Tensors) -> Tensors:
        """Raises `InvalidInputError` that names the row for what is not UTF-8."""
        encodings = self._tokenizer.encode_batch_fast(self._texts(inputs["text"]))
        lengths = [len(encoding.ids) for encoding in encodings]
        embeddings: list[Array] = [np.empty(0)] * len(encodings)
        for group in length_groups(lengths):
            for row, embedding in zip(group, self._embed([encodings[row] for row in group]), strict=True):
                embeddings[row] = embedding
        return {"embedding": np.stack(embeddings), "tokens": np.array(lengths, np.int32)}

    def example(self, rows: int) -> Tensors:
        """Sentences of different lengths."""
        words = _EXAMPLE.split()
        text = np.empty(rows, dtype=object)
        text[:] = [" ".join(words[: len(words) - row % 8]).encode() for row in range(rows)]
        return {"text": text}

    def close(self) -> None:
        """Free the session."""
        self._session.close()

    def _texts(self, texts: Array) -> list[str]:
        decoded: list[str] = []
        for row, text in enumerate(texts):
            try:
                # Cut before it is tokenised: of a book only the beginning would be used, after seconds of work.
                decoded.append(text.decode()[: self._longest])
            except UnicodeDecodeError:
                raise InvalidInputError(f"row {row} of input 'text' is not valid UTF-8") from None
        return decoded

    def graph_inputs(self, texts: Array) -> Tensors:
        """What the graph takes for `texts` BYTES [n], every one padded to the longest: int64 [n, tokens] each."""
        return self._padded(self._tokenizer.encode_batch_fast(self._texts(texts)))

    def _embed(self, encodings: Sequence[Encoding]) -> Array:
        """One run of the graph."""
        outputs = self._session.run(self._padded(encodings), [self._output])
        return outputs[self._output].astype(np.float32, copy=False)

    def _padded(self, encodings: Sequence[Encoding]) -> Tensors:
        shape = len(encodings), max(1, *(len(encoding.ids) for encoding in encodings))
        given = {name: np.zeros(shape, np.int64) for name in self._session.inputs}
        for row, encoding in enumerate(encodings):
            parts = {
                "input_ids": encoding.ids,
                "attention_mask": encoding.attention_mask,
                "token_type_ids": encoding.type_ids,
            }
            for name, array in given.items():
                array[row, : len(encoding.ids)] = parts[name]
        return given


def length_groups(lengths: Sequence[int]) -> list[list[int]]:
    """Which texts to run together, as indices: the division that costs least in all.

    A run costs its texts times its longest, in tokens, and `RUN_TOKENS` besides. With the texts sorted by length the
    best division of the first j is the best one of the first i, and the rest as one group, for the best i.
    """
    order = np.argsort(lengths, kind="stable")
    longest = np.asarray(lengths)[order]
    best = np.zeros(len(order) + 1)
    start = np.zeros(len(order) + 1, np.int64)
    for end in range(1, len(order) + 1):
        costs = best[:end] + RUN_TOKENS + (end - np.arange(end)) * longest[end - 1]
        start[end] = costs.argmin()
        best[end] = costs[start[end]]
    groups = []
    end = len(order)
    while end:
        groups.append(order[start[end] : end].tolist())
        end = int(start[end])
    return groups


def embedding_output(session: Session) -> str:
    """The output that holds one vector a text, shape [n, d]. Raises `BadPackageError`."""
    found: list[str] = [name for name, shape in session.outputs.items() if len(shape) == 2]
    if len(found) != 1:
        raise BadPackageError(
            f"a [text] model has one output of one vector a text; this one has {', '.join(session.outputs)}: "
            "export it with the pooling inside"
        )
    return found[0]


def _tokenizer(content: bytes, text: Text) -> Tokenizer:
    try:
        tokenizer: Tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises its base class
        raise BadPackageError(f"{text.tokenizer} is no tokenizer of Hugging Face: {str(error)[:200]}") from None
    tokenizer.enable_truncation(text.max_tokens)
    tokenizer.no_padding()
    return tokenizer
