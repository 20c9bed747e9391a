from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.call import Array
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.core.tensor import Signature
from airserve.engines import Model, Source, load_model
from airserve.engines.options import Text
from airserve.engines.text import RUN_TOKENS, length_groups
from airserve.models.steps import text_signature
from tests.step_models import WORDS, save_bag_of_words, save_mean_colour, save_tokenizer


def model(folder: Path, *, type_ids: bool = False, max_tokens: int = 16) -> Model:
    save_tokenizer(folder / "tokenizer.json")
    path = save_bag_of_words(folder / "model.onnx", type_ids=type_ids)
    source = Source(folder, path.name, Signature(*text_signature(len(WORDS)), 64), text=Text(max_tokens=max_tokens))
    return load_model("onnx", source, threads=1)


def texts(*given: str | bytes) -> Array:
    array = np.empty(len(given), dtype=object)
    array[:] = [text.encode() if isinstance(text, str) else text for text in given]
    return array


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model(tmp_path_factory.mktemp("text"), max_tokens=64)


@pytest.mark.parametrize("type_ids", [False, True])
def test_a_text_is_embedded_and_its_tokens_are_counted(tmp_path: Path, type_ids: bool) -> None:
    outputs = model(tmp_path, type_ids=type_ids).run({"text": texts("pay the bill", "")})
    #                     [UNK] [CLS] [SEP] bill cat mat pay the
    np.testing.assert_allclose(outputs["embedding"][0], [0, 0.2, 0.2, 0.2, 0, 0, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(outputs["embedding"][1], [0, 0.5, 0.5, 0, 0, 0, 0, 0])
    assert outputs["tokens"].tolist() == [5, 2]
    assert outputs["embedding"].dtype == np.float32 and outputs["tokens"].dtype == np.int32


@given(st.lists(st.lists(st.sampled_from(WORDS[3:]), max_size=40).map(" ".join), min_size=1, max_size=20))
def test_a_text_has_the_same_embedding_whatever_it_is_sent_with(shared: Model, many: list[str]) -> None:
    outputs = shared.run({"text": texts(*many)})
    for row, text in enumerate(many):
        alone = shared.run({"text": texts(text)})
        np.testing.assert_allclose(outputs["embedding"][row], alone["embedding"][0], rtol=1e-6)
        assert outputs["tokens"][row] == alone["tokens"][0]


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    outputs = model(tmp_path, max_tokens=4).run({"text": texts("cat " * 10_000, "cat cat")})
    assert outputs["tokens"].tolist() == [4, 4]
    np.testing.assert_array_equal(outputs["embedding"][0], outputs["embedding"][1])


def test_the_row_that_is_no_text_is_named(shared: Model) -> None:
    with pytest.raises(InvalidInputError, match="row 2 of input 'text' is not valid UTF-8"):
        shared.run({"text": texts("cat", "mat", b"\xff\xfe")})


def test_the_example_has_texts_of_different_lengths(shared: Model) -> None:
    example = shared.example(5)
    assert len(set(shared.run(example)["tokens"].tolist())) > 1


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    save_bag_of_words(tmp_path / "model.onnx")
    (tmp_path / "tokenizer.json").write_text("{}")
    source = Source(tmp_path, "model.onnx", Signature(*text_signature(8), 64), text=Text())
    with pytest.raises(BadPackageError, match=r"tokenizer\.json is no tokenizer"):
        load_model("onnx", source, threads=1)


def test_a_graph_that_takes_no_tokens_is_refused(tmp_path: Path) -> None:
    save_mean_colour(tmp_path / "model.onnx")
    save_tokenizer(tmp_path / "tokenizer.json")
    source = Source(tmp_path, "model.onnx", Signature(*text_signature(8), 64), text=Text())
    with pytest.raises(BadPackageError, match="not x"):
        load_model("onnx", source, threads=1)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=7))
def test_texts_are_divided_so_that_all_of_them_cost_least(lengths: list[int]) -> None:
    groups = length_groups(lengths)
    assert sorted(itertools.chain(*groups)) == list(range(len(lengths)))
    cost = sum(_cost([lengths[row] for row in group]) for group in groups)
    assert cost == min(sum(map(_cost, division)) for division in _divisions(sorted(lengths)))


def test_a_short_text_does_not_pay_for_a_long_one() -> None:
    assert sorted(map(sorted, length_groups([8, 250, 7, 248]))) == [[0, 2], [1, 3]]


def _cost(lengths: list[int]) -> int:
    return RUN_TOKENS + len(lengths) * max(lengths)


def _divisions(lengths: list[int]) -> list[list[list[int]]]:
    """Every way to cut the list into runs."""
    if not lengths:
        return [[]]
    return [[lengths[:end], *rest] for end in range(1, len(lengths) + 1) for rest in _divisions(lengths[end:])]
