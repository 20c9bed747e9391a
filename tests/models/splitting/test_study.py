from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.engines.files import PlainFiles
from airserve.models.manifest import Manifest
from airserve.models.onnx_import import package_onnx
from airserve.models.package import open_package
from airserve.models.splitting.verdict import Asked, judge
from airserve.models.text_package import package_text
from tests.models.splitting.networks import save, small_cnn, two_ways
from tests.step_models import save_bag_of_words, save_tokenizer

ASKED = Asked(rates_mbps=(0.1, 100.0), rows=6, codecs=("fp32", "int8c+zstd", "int2c"), every_cut=True)


def _package(folder: Path, model: object) -> Manifest:
    package_onnx(save(model, folder / "model.onnx"), folder / "package", name="split-me")  # type: ignore[arg-type]
    return open_package(folder / "package").manifest


def test_every_cut_is_profiled_and_coded(tmp_path: Path) -> None:
    manifest = _package(tmp_path, small_cnn())
    np.save(tmp_path / "rows.npy", np.random.default_rng(2).normal(size=(9, 3, 32, 32)).astype(np.float32))
    verdict = judge(manifest, PlainFiles(tmp_path / "package"), tmp_path / "rows.npy", ASKED)
    measured = verdict.measured
    assert measured.rows == 6
    assert [cut.number for cut in measured.cuts] == list(range(1, len(measured.cuts) + 1))
    shapes = {cut.tensor: cut.shape for cut in measured.cuts}
    assert shapes["r1"] == (1, 8, 16, 16) and shapes["pooled"] == (1, 8, 1, 1)
    for cut in measured.cuts:
        assert 0 < cut.head_share < 1
        exact, coarse, coarsest = cut.codings
        assert exact.accuracy == pytest.approx(1.0, abs=1e-4) and exact.bytes > 4 * cut.values
        assert 0.9 < coarse.accuracy <= 1.0 and coarse.accuracy >= coarsest.accuracy
    assert len(verdict.comparisons) == len(verdict.divisions) == 2


def test_nothing_is_coded_where_it_could_not_pay(tmp_path: Path) -> None:
    """The features of the first cut are nearly as many as the input, and a slow device has to compute them."""
    manifest = _package(tmp_path, small_cnn())
    np.save(tmp_path / "rows.npy", np.zeros((4, 3, 32, 32), np.float32))
    asked = Asked(rates_mbps=(1e6,), rtt_s=0.0, factor=100.0)
    verdict = judge(manifest, PlainFiles(tmp_path / "package"), tmp_path / "rows.npy", asked)
    assert all(cut.codings == () for cut in verdict.measured.cuts) and verdict.worth == ()


def test_a_graph_without_a_cut_is_refused_in_a_sentence(tmp_path: Path) -> None:
    manifest = _package(tmp_path, two_ways())
    np.savez(tmp_path / "rows.npz", a=np.ones((4, 4), np.float32), b=np.ones((4, 4), np.float32))
    with pytest.raises(BadPackageError, match="several tensors cross"):
        judge(manifest, PlainFiles(tmp_path / "package"), tmp_path / "rows.npz", ASKED)


def test_one_row_is_no_sample(tmp_path: Path) -> None:
    manifest = _package(tmp_path, small_cnn())
    np.save(tmp_path / "rows.npy", np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(InvalidInputError, match="two or more"):
        judge(manifest, PlainFiles(tmp_path / "package"), tmp_path / "rows.npy", ASKED)


def test_a_text_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path / "words.json")
    from airserve.engines.options import Text

    package_text(save_bag_of_words(tmp_path / "model.onnx"), tokenizer, tmp_path / "package", name="words", text=Text())
    manifest = open_package(tmp_path / "package").manifest
    (tmp_path / "texts.txt").write_text("the cat\npay the bill\n")
    with pytest.raises(BadPackageError, match="attention mask"):
        judge(manifest, PlainFiles(tmp_path / "package"), tmp_path / "texts.txt", ASKED)
