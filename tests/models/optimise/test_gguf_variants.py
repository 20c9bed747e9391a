from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from airserve.core.call import Array
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.core.generation import Generation, Piece
from airserve.engines.llama import LlamaGenerator
from airserve.engines.options import Language
from airserve.models.gguf_header import read_header
from airserve.models.gguf_import import package_gguf
from airserve.models.optimise.gguf_variants import METHODS, QUANTISATIONS, Quantisation, nothing_to_shrink, requantise
from airserve.models.optimise.method import Original
from airserve.models.package import open_package
from tests import large_models
from tests.models.optimise import tiny_language

BY_NAME = {each.name: each for each in QUANTISATIONS}
# The largest error of one weight, as a share of the largest weight of its block: half a step, and a step where the
# scale has the sign of the largest weight. The scale itself is rounded to FP16.
BOUND = {"F16": 1e-3, "Q8_0": 1 / 225, "Q5_1": 1 / 30, "Q5_0": 1 / 15, "Q4_1": 1 / 14, "Q4_0": 1 / 7}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.save(tmp_path_factory.mktemp("tiny") / "tiny.gguf", tokenizer__chat_template="{{ messages }}")


def tensors_of(file: Path) -> dict[str, tuple[Type, Array]]:
    """Type and weights, float32, of each tensor."""
    return {
        each.name: (each.tensor_type, gguf.quants.dequantize(each.data, each.tensor_type))
        for each in gguf.GGUFReader(file).tensors
    }


@pytest.mark.parametrize("quantisation", QUANTISATIONS, ids=lambda each: each.name)
def test_matrices_get_the_types_that_were_asked_for_and_stay_close(
    tiny: Path, tmp_path: Path, quantisation: Quantisation
) -> None:
    requantise(tiny, tmp_path / "made.gguf", quantisation)
    before, after = tensors_of(tiny), tensors_of(tmp_path / "made.gguf")
    assert list(after) == list(before)
    for name, (kind, weights) in after.items():
        exact = before[name][1]
        if exact.ndim == 1:
            assert kind == Type.F32
            np.testing.assert_array_equal(weights, exact)
            continue
        wanted = quantisation.head if name == "output.weight" else quantisation.weights
        assert kind.name == wanted
        blocks = np.abs(exact).reshape(-1, 32).max(1, keepdims=True)
        assert (np.abs(weights - exact).reshape(-1, 32) <= BOUND[wanted] * blocks + 1e-6).all()
    assert (tmp_path / "made.gguf").stat().st_size < tiny.stat().st_size


def test_metadata_and_tokenizer_stay_and_the_type_of_the_file_is_told(tiny: Path, tmp_path: Path) -> None:
    requantise(tiny, tmp_path / "made.gguf", BY_NAME["q4-0"])
    before, after = gguf.GGUFReader(tiny), gguf.GGUFReader(tmp_path / "made.gguf")
    changed = {"general.file_type", "general.quantization_version"}
    for name, field in before.fields.items():
        if name not in changed and not name.startswith("GGUF."):
            assert after.fields[name].contents() == field.contents()
            assert after.fields[name].types == field.types
    assert after.fields["tokenizer.chat_template"].contents() == "{{ messages }}"
    assert after.fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_Q4_0
    assert read_header(tmp_path / "made.gguf").parameters == read_header(tiny).parameters


def test_what_has_few_bits_already_is_copied_and_nothing_becomes_larger(tiny: Path, tmp_path: Path) -> None:
    small, again = tmp_path / "small.gguf", tmp_path / "again.gguf"
    requantise(tiny, small, BY_NAME["q4-0"])
    assert nothing_to_shrink(small, BY_NAME["q8-0"]) == "each of its matrices has as few bits as q8-0 already"
    with pytest.raises(InvalidInputError, match="as few bits as q4-0 already"):
        requantise(small, again, BY_NAME["q4-0"])
    requantise(small, again, BY_NAME["q5-0-all"])
    before, after = tensors_of(small), tensors_of(again)
    assert {name for name in before if after[name][0] != before[name][0]} == {"output.weight"}
    np.testing.assert_array_equal(after["blk.0.ffn_up.weight"][1], before["blk.0.ffn_up.weight"][1])


def test_the_embedding_counts_as_the_head_where_there_is_no_other(tmp_path: Path) -> None:
    weights = tiny_language.weights()
    del weights["output.weight"]
    tied = tiny_language.save(tmp_path / "tied.gguf", weights)
    requantise(tied, tmp_path / "made.gguf", BY_NAME["q4-0"])
    kinds = {name: kind for name, (kind, _) in tensors_of(tmp_path / "made.gguf").items()}
    assert (kinds["token_embd.weight"], kinds["blk.0.attn_q.weight"]) == (Type.Q8_0, Type.Q4_0)


def test_rows_that_fill_no_blocks_and_what_llama_cpp_keeps_are_not_quantised(tmp_path: Path) -> None:
    weights = tiny_language.weights()
    weights["blk.0.odd.weight"] = np.ones((4, 33), np.float32)
    weights["blk.0.ffn_gate_inp.weight"] = np.ones((4, 64), np.float32)
    weights["blk.0.some.bias"] = np.ones((4, 64), np.float32)
    requantise(tiny_language.save(tmp_path / "a.gguf", weights), tmp_path / "made.gguf", BY_NAME["q4-0"])
    kinds = {name: kind for name, (kind, _) in tensors_of(tmp_path / "made.gguf").items()}
    assert kinds["blk.0.odd.weight"] == Type.F16
    assert kinds["blk.0.ffn_gate_inp.weight"] == kinds["blk.0.some.bias"] == Type.F32


def test_experts_in_three_axes_are_quantised_too(tmp_path: Path) -> None:
    weights = tiny_language.weights()
    exact = weights["blk.0.ffn_up_exps.weight"] = np.random.default_rng(0).normal(size=(3, 8, 64)).astype(np.float32)
    requantise(tiny_language.save(tmp_path / "a.gguf", weights), tmp_path / "made.gguf", BY_NAME["q8-0"])
    kind, found = tensors_of(tmp_path / "made.gguf")["blk.0.ffn_up_exps.weight"]
    assert kind == Type.Q8_0
    np.testing.assert_allclose(found.reshape(exact.shape), exact, atol=0.02)


def test_a_damaged_file_is_refused_and_nothing_is_left_behind(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(tiny.read_bytes()[:-1000])
    with pytest.raises(BadPackageError, match="too early"):
        requantise(tmp_path / "cut.gguf", tmp_path / "made.gguf", BY_NAME["q4-0"])
    assert [each.name for each in tmp_path.iterdir()] == ["cut.gguf"]


def test_a_failure_half_way_leaves_no_file(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Array:
        raise OSError("no space left on device")

    monkeypatch.setattr(gguf.quants, "quantize", full)
    with pytest.raises(OSError, match="no space"):
        requantise(tiny, tmp_path / "made.gguf", BY_NAME["q4-0"])
    assert not list(tmp_path.iterdir())


def test_each_quantisation_is_a_method_for_packages(tiny: Path, tmp_path: Path) -> None:
    folder = package_gguf(tiny, tmp_path / "package", name="tiny")
    original = Original(folder, open_package(folder).manifest)
    methods = {each.name: each for each in METHODS}
    assert list(methods) == list(BY_NAME)
    assert methods["q8-0"].fits(original) is None
    methods["q8-0"].make(original, tmp_path / "q8-0.gguf")
    assert tensors_of(tmp_path / "q8-0.gguf")["output.weight"][0] == Type.Q8_0


@pytest.mark.models
def test_a_real_model_is_quantised_again_and_generates(tmp_path: Path) -> None:
    gemma = large_models.gemma()
    assert nothing_to_shrink(gemma, BY_NAME["q8-0"]) is not None
    requantise(gemma, tmp_path / "made.gguf", BY_NAME["q4-0-all"])
    before, after = read_header(gemma), read_header(tmp_path / "made.gguf")
    assert after.parameters == before.parameters
    assert after.text("tokenizer.ggml.model") == before.text("tokenizer.ggml.model")
    # 4.5 bits for each weight of the embedding, in place of 8.5.
    assert (tmp_path / "made.gguf").stat().st_size < 0.65 * gemma.stat().st_size
    generator = LlamaGenerator(tmp_path / "made.gguf", Language(context=256, slots=1), threads=2)
    pieces: list[Piece] = []

    def hear(piece: Piece) -> bool:
        pieces.append(piece)
        return True

    parameters = {"prompt": "1, 2, 3, 4,", "max_tokens": 6, "temperature": 0}
    generator.generate(Generation(chat=False, parameters=parameters), hear)
    generator.close()
    assert "5, 6" in "".join(choice["text"] for piece in pieces for choice in piece.choices)
