from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import BadPackageError, InvalidInputError, ModelFailedError
from airserve.models.optimise.gguf_variants import QUANTISATIONS, requantise
from airserve.models.optimise.perplexity import CONTEXT, WINDOW, perplexity, ratio, surprise
from tests import large_models
from tests.models.optimise import tiny_language
from tests.models.optimise.tiny_language import surprise_by_hand, tokens_of


def letters(count: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("abcdefgh kmnop.,\n"), count))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.save(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def test_it_is_what_one_computes_by_hand_from_the_weights(tiny: Path) -> None:
    text = letters(2 * WINDOW + 9)
    tokens = tokens_of(text)
    found = surprise(tiny, text, threads=1)
    windows = (tokens[:WINDOW], tokens[WINDOW : 2 * WINDOW])
    wanted = [surprise_by_hand(tiny_language.weights(), each)[CONTEXT - 1 :] for each in windows]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_short_text_is_one_window_and_a_shorter_one_none(tiny: Path) -> None:
    text = letters(CONTEXT + 20)
    found = surprise(tiny, text, threads=1)
    wanted = surprise_by_hand(tiny_language.weights(), tokens_of(text))[CONTEXT - 1 :]
    np.testing.assert_allclose(found, [wanted], atol=1e-4)
    with pytest.raises(InvalidInputError, match="has 33 tokens"):
        surprise(tiny, letters(CONTEXT + 1), threads=1)


def test_of_a_long_text_windows_are_spread_over_all_of_it(tiny: Path) -> None:
    text = letters(6 * WINDOW)
    tokens = tokens_of(text)
    found = surprise(tiny, text, threads=1, most=2 * (WINDOW - CONTEXT))
    windows = (tokens[:WINDOW], tokens[3 * WINDOW : 4 * WINDOW])
    wanted = [surprise_by_hand(tiny_language.weights(), each)[CONTEXT - 1 :] for each in windows]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_weights_of_fewer_bits_are_judged_by_what_they_became(tiny: Path, tmp_path: Path) -> None:
    text = letters(WINDOW)
    exact = surprise(tiny, text, threads=1)
    lost = []
    for quantisation in QUANTISATIONS:
        if quantisation.name in ("q8-0", "q4-0-all"):
            requantise(tiny, tmp_path / f"{quantisation.name}.gguf", quantisation)
            found = surprise(tmp_path / f"{quantisation.name}.gguf", text, threads=1)
            lost.append(float(np.abs(found - exact).mean()))
    assert 0 < lost[0] < lost[1]


def test_a_damaged_file_and_one_without_numbers_are_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(tiny.read_bytes()[:-1000])
    with pytest.raises(BadPackageError, match=r"cannot load cut\.gguf"):
        surprise(tmp_path / "cut.gguf", letters(WINDOW), threads=1)
    weights = tiny_language.weights()
    weights["output_norm.weight"] = np.full_like(weights["output_norm.weight"], np.nan)
    with pytest.raises(ModelFailedError):
        surprise(tiny_language.save(tmp_path / "nan.gguf", weights), letters(WINDOW), threads=1)


@given(st.lists(st.floats(0, 12), min_size=1, max_size=200))
def test_perplexity_is_the_exponential_of_the_mean_and_lies_in_its_interval(nats: list[float]) -> None:
    value, low, high = perplexity(np.array(nats))
    assert value == pytest.approx(math.exp(np.mean(nats)))
    assert low <= value * (1 + 1e-9) and high >= value * (1 - 1e-9)


def test_a_ratio_by_pairs_is_sharper_than_the_perplexities_themselves() -> None:
    random = np.random.default_rng(0)
    exact = random.gamma(2.0, 1.5, (4, 224))
    found = exact + random.normal(0.05, 0.1, exact.shape)
    value, low, high = ratio(exact, found)
    assert low < math.exp(-0.05) < high
    assert value == pytest.approx(perplexity(exact)[0] / perplexity(found)[0])
    assert high - low < 0.05
    assert perplexity(exact)[2] - perplexity(exact)[1] > 1
    assert ratio(exact, exact) == (1.0, 1.0, 1.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        _, low, high = ratio(np.zeros(896), random.normal(0.02, 0.3, 896))
        hits += low <= math.exp(-0.02) <= high
    assert hits >= 176


@pytest.mark.models
def test_a_real_model_is_less_surprised_by_a_language_than_by_noise() -> None:
    text = "The river rises in the hills, flows past the old mill, and reaches the sea after forty miles. " * 3
    said = surprise(large_models.gemma(), text, threads=2)
    noise = surprise(large_models.gemma(), letters(100), threads=2)
    assert said.mean() < 2.5 < noise.mean()
