"""Small ONNX models with known answers for packages with a `[vision]` or `[text]` step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[UNK]", "[CLS]", "[SEP]", "bill", "cat", "mat", "pay", "the"]


def save_mean_colour(path: Path, size: int = 8, *, channels_last: bool = False) -> Path:
    """Scores of a picture [-1, 3, size, size]: the means of its channels, so red is class 0, green 1, blue 2."""
    shape = ["batch", size, size, 3] if channels_last else ["batch", 3, size, size]
    axes = [1, 2] if channels_last else [2, 3]
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["scores"], axes=axes, keepdims=0)],
        "mean-colour",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
    )
    return _save(graph, path)


def save_bag_of_words(path: Path, *, type_ids: bool = False) -> Path:
    """How often each token is in a text, divided by its length: [texts, tokens] twice -> [texts, len(WORDS)]."""
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if type_ids else [])]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["weights"]),
        helper.make_node("Mul", ["each", "weights"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["weights", "middle"], ["length"], keepdims=0),
        helper.make_node("Div", ["sum", "length"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bag-of-words",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in inputs],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", len(WORDS)])],
        [
            numpy_helper.from_array(np.eye(len(WORDS), dtype=np.float32), "table"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "middle"),
        ],
    )
    return _save(graph, path)


def save_tokenizer(path: Path) -> Path:
    """A token a word, [CLS] before and [SEP] after them."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(path))
    return path


def _save(graph: onnx.GraphProto, path: Path) -> Path:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
