"""What a real model of each family answers through the service."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from airserve import AsyncClient, Client
from airserve.core.errors import InvalidInputError, NotFoundError
from tests.conftest import AIRSERVE, Service
from tests.large_models import photographs
from tests.server.wire import Answer, send

pytestmark = pytest.mark.models

CATS = {281, 282, 285}
PHOTOGRAPHS = photographs()


def post(service: Service, model: str, body: bytes, **headers: str) -> Answer:
    return send(service, f"/models/{model}", body, headers={"content-type": "", **service.headers, **headers})


def indices(client: Client, *pictures: bytes) -> list[list[int]]:
    images = np.empty(len(pictures), dtype=object)
    images[:] = pictures
    found: list[list[int]] = client.infer("efficientnet", {"image": images})["index"].tolist()
    return found


def encoded(photograph: Path, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    with Image.open(photograph) as image:
        image.convert("RGB").save(file, kind, **options)
    return file.getvalue()


def test_a_photograph_of_a_cat_has_cats_at_the_top(large_service: Service) -> None:
    with Client(large_service.url, large_service.key) as client:
        (cats,) = indices(client, PHOTOGRAPHS["cat"].read_bytes())
        assert set(cats[:3]) == CATS
        labels = client.classify("efficientnet", PHOTOGRAPHS["cat"], 3)
        assert {label for label, _ in labels} == {"tiger cat", "Egyptian cat", "tabby, tabby cat"}
        assert sum(probability for _, probability in labels) > 0.85


def test_other_photographs_are_named_too(large_service: Service) -> None:
    with Client(large_service.url, large_service.key) as client:
        coffee, flower = indices(client, *(PHOTOGRAPHS[name].read_bytes() for name in ("coffee", "flower")))
        assert (coffee[0], flower[0]) == (967, 985)
        ((label, probability), *_) = client.classify("efficientnet", PHOTOGRAPHS["coffee"].read_bytes())
        assert label == "espresso" and probability > 0.9


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 85}), ("WEBP", {"quality": 85}), ("PNG", {"compress_level": 1})]
)
def test_the_format_of_the_file_does_not_matter(large_service: Service, kind: str, options: dict[str, Any]) -> None:
    with Client(large_service.url, large_service.key) as client:
        assert set(indices(client, encoded(PHOTOGRAPHS["cat"], kind, **options))[0][:3]) == CATS


def test_a_photograph_taken_sideways_is_still_a_cat(large_service: Service) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    with Image.open(PHOTOGRAPHS["cat"]) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=95, exif=exif)
    with Client(large_service.url, large_service.key) as client:
        assert set(indices(client, file.getvalue())[0][:3]) == CATS


def test_curls_own_way_to_send_a_file_is_answered_with_names(large_service: Service) -> None:
    cat = PHOTOGRAPHS["cat"].read_bytes()
    answer = post(large_service, "efficientnet", cat, **{"content-type": "application/x-www-form-urlencoded"})
    best = json.loads(answer.body)[0]
    assert "cat" in best["label"] and best["probability"] > 0.3
    assert b"cat\n" in post(large_service, "efficientnet", cat, accept="text/plain").body


def test_a_picture_that_is_none_is_a_400_for_its_call_alone(large_service: Service) -> None:
    async def run() -> list[Any]:
        async with AsyncClient(large_service.url, large_service.key) as client:
            pictures = [b"\xff\xd8\xffno picture" if number % 4 == 0 else PHOTOGRAPHS["cat"] for number in range(8)]
            calls = (client.classify("efficientnet", picture, 1) for picture in pictures)
            return await asyncio.gather(*calls, return_exceptions=True)

    for number, result in enumerate(asyncio.run(run())):
        if number % 4 == 0:
            assert isinstance(result, InvalidInputError) and "row 0 of input 'image'" in result.message
        else:
            assert "cat" in result[0][0]


def test_a_billing_question_is_nearer_to_paying_a_bill_than_to_a_cat(large_service: Service) -> None:
    texts = ["billing question", "how do I pay my bill", "the cat sat on the mat"]
    with Client(large_service.url, large_service.key) as client:
        given = np.array([text.encode() for text in texts], dtype=object)
        outputs = client.infer("minilm", {"text": given})
    question, bill, cat = outputs["embedding"]
    assert question @ bill == pytest.approx(0.57, abs=0.02) and question @ cat == pytest.approx(0.02, abs=0.02)
    np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, rtol=1e-5)
    assert outputs["tokens"].tolist() == [4, 8, 8]


def test_a_text_alone_has_the_embedding_that_it_has_among_others(large_service: Service) -> None:
    alone = json.loads(post(large_service, "minilm", b"how do I pay my bill", **{"content-type": "text/plain"}).body)
    many = json.loads(post(large_service, "minilm", json.dumps(["word " * 200, "how do I pay my bill"]).encode()).body)
    assert alone["tokens"] == many[1]["tokens"] == 8 and many[0]["tokens"] == 202
    np.testing.assert_allclose(alone["embedding"], many[1]["embedding"], atol=1e-5)


def test_the_command_line_names_what_is_on_pictures(large_service: Service, tmp_path: Path) -> None:
    file = tmp_path / "cat.jpg"
    file.write_bytes(encoded(PHOTOGRAPHS["cat"], "JPEG"))
    where = ["--url", large_service.url, "--key", large_service.key]
    command = [AIRSERVE, "classify", "efficientnet", str(file), str(PHOTOGRAPHS["coffee"]), "--top", "2"]
    done = subprocess.run([*command, *where, "--json"], capture_output=True, text=True, timeout=60, check=True)
    cat, coffee = json.loads(done.stdout)
    assert cat["file"] == str(file) and "cat" in cat["labels"][0]["label"] and len(cat["labels"]) == 2
    assert coffee["labels"][0]["label"] == "espresso"
    table = subprocess.run([*command, *where], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "espresso" in table and "95.7%" in table


def test_what_cannot_be_classified_is_said(large_service: Service, tmp_path: Path) -> None:
    with Client(large_service.url, large_service.key) as client:
        with pytest.raises(InvalidInputError, match="cannot be read"):
            client.classify("efficientnet", tmp_path / "nothing.jpg")
        with pytest.raises(InvalidInputError, match="'image'"):
            client.classify("minilm", PHOTOGRAPHS["cat"])
        with pytest.raises(NotFoundError):
            client.classify("nothing", PHOTOGRAPHS["cat"])


def test_a_model_that_generates_is_told_apart(large_service: Service) -> None:
    answer = post(large_service, "gemma", b"Once upon a time", **{"content-type": "text/plain"})
    assert answer.status == 415 and "/v1/chat/completions" in answer.error
    assert json.loads(send(large_service, "/models/gemma").body)["example"] == "airserve chat gemma"
