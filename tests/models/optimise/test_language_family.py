from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from airserve.core.errors import BadPackageError, InvalidInputError, ModelFailedError
from airserve.models.gguf_import import package_gguf
from airserve.models.manifest import Manifest
from airserve.models.optimise.gguf_variants import QUANTISATIONS, requantise
from airserve.models.optimise.language_family import METRIC, LanguageFamily, read_text
from airserve.models.optimise.perplexity import CONTEXT, WINDOW
from airserve.models.package import open_package
from tests.models.optimise import tiny_language

TEXT = "".join(np.random.default_rng(0).choice(list("abcdefgh kmnop."), WINDOW + 10))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_language.save(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def manifest(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = package_gguf(tiny, tmp_path_factory.mktemp("made") / "package", name="tiny", context=256, slots=2)
    return open_package(folder).manifest


@pytest.fixture(scope="module")
def family(manifest: Manifest) -> LanguageFamily:
    return LanguageFamily(manifest, TEXT, threads=1)


def test_a_variant_is_judged_by_pairs_of_tokens(family: LanguageFamily, tiny: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.gguf"
    requantise(tiny, small, next(each for each in QUANTISATIONS if each.name == "q4-0-all"))
    family.check(small)
    exact, found = family.judge(tiny), family.judge(small)
    itself, other = family.accuracy(exact, exact), family.accuracy(exact, found)
    assert (itself.metric, itself.value, itself.loss, itself.rows) == (METRIC, 1.0, 0.0, WINDOW - CONTEXT)
    assert other.value != 1.0
    assert other.low <= other.value <= other.high
    assert other.loss_low <= other.loss == 1 - other.value <= other.loss_high
    assert other.value == pytest.approx(family.perplexity(exact)[0] / family.perplexity(found)[0])


def test_a_round_has_a_time_for_each_token_and_a_rate_for_all_slots(family: LanguageFamily, tiny: Path) -> None:
    one = family.time(tiny)
    assert len(one.latencies_ms) == 47
    assert sorted(one.rows_per_s) == [1, 2]
    assert min(one.latencies_ms) >= 0 and min(one.rows_per_s.values()) > 0 and one.memory_bytes > 0
    assert one.threads == 1
    assert family.speed(tiny).prompt_tokens_per_s > 0


def test_a_file_that_does_not_load_is_refused_and_ends_nothing(
    family: LanguageFamily, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.gguf").write_bytes(tiny.read_bytes()[:-1000])
    for do in (family.check, family.judge, family.time):
        with pytest.raises(BadPackageError, match=r"cannot load cut\.gguf"):
            do(tmp_path / "cut.gguf")


def test_a_variant_that_cuts_the_text_otherwise_cannot_be_compared(family: LanguageFamily) -> None:
    with pytest.raises(ModelFailedError, match="other tokens"):
        family.accuracy({"surprise": np.zeros((1, 4))}, {"surprise": np.zeros((1, 5))})


def test_fewer_tokens_than_a_window_are_refused(manifest: Manifest) -> None:
    with pytest.raises(InvalidInputError, match="at least 224 tokens"):
        LanguageFamily(manifest, TEXT, threads=1, most=10)


def test_the_sample_is_a_text_of_some_length(tmp_path: Path) -> None:
    good = tmp_path / "sample.txt"
    good.write_text("word " * CONTEXT)
    assert read_text(good).startswith("word")
    good.write_text("too short")
    with pytest.raises(InvalidInputError, match="fewer than 32 words"):
        read_text(good)
    good.write_bytes(b"\xff\xfe" * 100)
    with pytest.raises(InvalidInputError, match="UTF-8"):
        read_text(good)
    for other in (tmp_path, tmp_path / "rows.npy"):
        with pytest.raises(InvalidInputError, match=r"give a \.txt file"):
            read_text(other)
    with pytest.raises(InvalidInputError, match="does not exist"):
        read_text(tmp_path / "none.txt")
