"""A language model small enough for any test, whose probabilities can be computed by hand.

Of the architecture llama, one block deep. The block adds nothing to what it is given, so the next token depends on the
last one alone: its logits are the normalised row of the embedding times the output matrix.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from airserve.core.call import Array

WIDTH, HEADS, INNER, CONTEXT = 64, 2, 96, 1024
LETTERS = [*string.ascii_lowercase, "▁", ".", ",", "\n"]
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *LETTERS]
BEGIN = 1
EPSILON = 1e-5


def tokens_of(text: str) -> list[int]:
    """As the model cuts a text of `LETTERS`: one by one."""
    return [TOKENS.index("▁" if letter == " " else letter) for letter in text]


def weights(seed: int = 0) -> dict[str, Array]:
    """All tensors by name, float32; a row of a matrix is what one output is made of."""
    random = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 1.0) -> Array:
        return (scale * random.normal(size=shape)).astype(np.float32)

    one = np.ones(WIDTH, np.float32)
    return {
        "token_embd.weight": draw(len(TOKENS), WIDTH),
        "output.weight": draw(len(TOKENS), WIDTH, scale=0.3),
        "output_norm.weight": one,
        "blk.0.attn_norm.weight": one,
        "blk.0.attn_q.weight": draw(WIDTH, WIDTH, scale=0.1),
        "blk.0.attn_k.weight": draw(WIDTH, WIDTH, scale=0.1),
        "blk.0.attn_v.weight": draw(WIDTH, WIDTH, scale=0.1),
        "blk.0.attn_output.weight": np.zeros((WIDTH, WIDTH), np.float32),
        "blk.0.ffn_norm.weight": one,
        "blk.0.ffn_gate.weight": draw(INNER, WIDTH, scale=0.1),
        "blk.0.ffn_up.weight": draw(INNER, WIDTH, scale=0.1),
        "blk.0.ffn_down.weight": np.zeros((WIDTH, INNER), np.float32),
    }


def surprise_by_hand(tensors: dict[str, Array], tokens: list[int]) -> Array:
    """−log p of every token but the first, float64."""
    rows = tensors["token_embd.weight"][tokens[:-1]].astype(np.float64)
    rows /= np.sqrt(np.mean(rows**2, axis=1, keepdims=True) + EPSILON)
    logits = rows @ tensors["output.weight"].astype(np.float64).T
    logits -= logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return np.asarray(-logs[np.arange(len(rows)), tokens[1:]])


def save(file: Path, tensors: dict[str, Array] | None = None, **changes: Any) -> Path:
    """Write the model; `changes` are further texts of its metadata, with `__` for a dot."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_type("model")
    writer.add_name("Tiny")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([-float(at) for at in range(len(TOKENS))])
    kinds = [2, 3, 3, *[6] * 256, *[1] * len(LETTERS)]
    writer.add_token_types(kinds)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    for key, value in changes.items():
        writer.add_string(key.replace("__", "."), value)
    for name, tensor in (weights() if tensors is None else tensors).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
