from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from airserve.core.errors import BadPackageError, NotFoundError
from airserve.engines.options import Text
from airserve.models.manifest import check_manifest
from airserve.models.package import open_package, write_package
from airserve.models.text_package import package_text
from tests.step_models import WORDS, save_bag_of_words, save_mean_colour, save_tokenizer


def test_an_encoder_becomes_a_package_that_takes_strings(tmp_path: Path) -> None:
    graph, tokenizer = save_bag_of_words(tmp_path / "words.onnx"), save_tokenizer(tmp_path / "words.json")
    package = open_package(package_text(graph, tokenizer, tmp_path / "package", name="words", text=Text(max_tokens=9)))
    manifest = package.manifest
    assert [(each.name, each.datatype, each.shape) for each in (*manifest.inputs, *manifest.outputs)] == [
        ("text", "BYTES", (-1,)),
        ("embedding", "FP32", (-1, len(WORDS))),
        ("tokens", "INT32", (-1,)),
    ]
    assert manifest.text == Text(max_tokens=9)
    assert package.path("tokenizer.json").read_bytes() == tokenizer.read_bytes()
    with pytest.raises(BadPackageError, match="max_tokens is 3 or more"):
        check_manifest(msgspec.structs.replace(manifest, text=Text(max_tokens=2)))
    with pytest.raises(BadPackageError, match=r"tokenizer 'tokenizer\.json', which is not there"):
        write_package(tmp_path / "other", manifest, {"model.onnx": graph})


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    tokenizer = save_tokenizer(tmp_path / "words.json")
    with pytest.raises(BadPackageError, match="does not take INT64"):
        graph = save_mean_colour(tmp_path / "colours.onnx")
        package_text(graph, tokenizer, tmp_path / "package", name="words", text=Text())
    with pytest.raises(NotFoundError, match="does not exist"):
        package_text(graph, tmp_path / "nothing", tmp_path / "package", name="words", text=Text())
    assert not (tmp_path / "package").exists()
