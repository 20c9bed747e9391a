"""Several variants of one model behind one name: which one answers, and what the answer says of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from airserve.client import Answer, AsyncClient, Client
from airserve.core.errors import AirserveError, InvalidInputError
from tests import commands
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_linear
from tests.variants_for_tests import FULL, SMALL, two_variants
from tests.waiting import until

ONE = np.ones((1, 4), np.float32)
SURE = np.array([[9, 0, 0, 0]], np.float32)
PLAN = 'code = "exact"\nname = "Exact"\nmin_accuracy = 0.98\n'


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`two` answers with its full and its small variant, `three` with a cascade of them as well, `one` has only one."""
    folder = tmp_path_factory.mktemp("variants")
    state = str(folder / "state")
    two = str(two_variants(folder / "two"))
    airserve(
        "publish", two, "--serve", "small,full", "--floor", "0.9", "--deterministic", "--state-dir", state, "--json"
    )
    three = str(two_variants(folder / "three", name="three", cascade=True))
    airserve("publish", three, "--serve", "full,cascade,small", "--state-dir", state, "--json")
    airserve("publish", str(save_linear(folder / "one.onnx")), "--state-dir", state, "--json")
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


@pytest.fixture
def client(several: Service) -> Iterator[Client]:
    with Client(several.url, several.key, timeout_ms=30_000) as client:
        yield client


def infer(service: Service, headers: dict[str, str], parameters: dict[str, Any] | None = None) -> httpx.Response:
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}]}
    more = {} if parameters is None else {"parameters": parameters}
    return httpx.post(
        f"{service.url}/v2/models/two/infer",
        json={**document, **more},
        headers={**service.headers, **headers},
        timeout=30,
    )


def test_with_time_enough_the_most_accurate_variant_answers_and_the_answer_says_so(client: Client) -> None:
    answer = client.infer("two", {"x": ONE})
    assert (answer.variant, answer.accuracy) == ("full", 1.0)
    assert answer["y"].tolist() == [[FULL] * 4]


def test_a_call_may_pin_a_variant_or_ask_for_an_accuracy(client: Client) -> None:
    pinned = client.infer("two", {"x": ONE}, variant="small")
    assert (pinned.variant, pinned.accuracy) == ("small", 0.97)
    assert pinned["y"].tolist() == [[SMALL] * 4]
    assert client.infer("two", {"x": ONE}, min_accuracy=0.98).variant == "full"


def test_headers_and_parameters_ask_the_same_and_the_headers_win(several: Service) -> None:
    by_header = infer(several, {"airserve-variant": "small"})
    assert (by_header.headers["airserve-variant"], by_header.headers["airserve-accuracy"]) == ("small", "0.97")
    assert by_header.json()["parameters"] == {"variant": "small", "accuracy": 0.97}
    assert infer(several, {}, {"variant": "small"}).headers["airserve-variant"] == "small"
    assert infer(several, {"airserve-variant": "full"}, {"variant": "small"}).headers["airserve-variant"] == "full"
    assert infer(several, {}, {"min_accuracy": 0.99}).headers["airserve-variant"] == "full"


@pytest.mark.parametrize(
    ("headers", "parameters", "sentence"),
    [
        ({"airserve-variant": "tiny"}, None, "not served as variant 'tiny'; there is full (1), small (0.97)"),
        ({"airserve-min-accuracy": "1.5"}, None, "has an accuracy of 1.5 or more; there is full (1), small (0.97)"),
        ({"airserve-variant": "small", "airserve-min-accuracy": "0.98"}, None, "as 'small' has an accuracy of 0.98"),
        ({"airserve-min-accuracy": "high"}, None, "Airserve-Min-Accuracy is a number"),
        ({}, {"variant": 3}, "parameter 'variant' is the name of a variant"),
        ({}, {"min_accuracy": "high"}, "parameter 'min_accuracy' is a number"),
    ],
)
def test_what_cannot_be_given_is_refused_with_what_there_is(
    several: Service, headers: dict[str, str], parameters: dict[str, Any] | None, sentence: str
) -> None:
    refused = infer(several, headers, parameters)
    assert refused.status_code == 400
    assert sentence in refused.json()["error"]


def test_an_answer_of_a_model_with_one_variant_says_nothing_of_it(several: Service, client: Client) -> None:
    answer = client.infer("one", {"x": ONE})
    assert (answer.variant, answer.accuracy) == (None, 1.0)
    plain = httpx.post(f"{several.url}/models/one", json=[[1, 1, 1, 1]], headers=several.headers, timeout=30)
    assert not [name for name in plain.headers if name in ("airserve-variant", "airserve-accuracy")]
    with pytest.raises(InvalidInputError, match="not served as variant 'small'"):
        client.infer("one", {"x": ONE}, variant="small")


def test_a_rush_is_answered_by_the_small_variant_where_the_full_one_would_be_late(several: Service) -> None:
    """Each call has eight rows of its own; the deadline leaves the full model time for a few of them.

    How long that is depends on what else the machine does, so another one is tried where too many were refused.
    """
    numbers = itertools.count(1)

    async def call(client: AsyncClient, **options: Any) -> Answer:
        number = next(numbers)
        answer = await client.infer("two", {"x": np.full((8, 4), number, np.float32)}, **options)
        assert (answer["y"] == number * (SMALL if answer.variant == "small" else FULL)).all()
        return answer

    async def rush(times: float) -> list[Answer]:
        async with AsyncClient(several.url, several.key, retries=0) as client:
            alone = [await call(client, variant="full") for _ in range(5)]
            took_ms = statistics.median(each.timings.compute_ms for each in alone if each.timings)
            calls = [call(client, timeout_ms=times * took_ms) for _ in range(60)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(each, Answer | AirserveError) for each in ended)
        return [each for each in ended if isinstance(each, Answer)]

    shared = False
    for times in (12, 12, 12, 15, 18, 24):
        # With both cores the full variant alone could answer 24 of them within the first of these.
        answers = asyncio.run(rush(times))
        by = [each.variant for each in answers]
        shared = len(by) > 40 and by.count("small") > by.count("full") > 0
        if shared:
            break
    assert shared


def test_the_plan_of_a_tenant_may_keep_it_from_the_small_variant(several: Service, tmp_path: Path) -> None:
    (tmp_path / "exact.toml").write_text(PLAN)
    several.run("plans", "create", str(tmp_path / "exact.toml"))
    tenant = several.run("tenants", "create", "exact")
    several.run("subscribe", tenant["id"], "exact")
    key = several.run("keys", "create", tenant["id"])["key"]
    with Client(several.url, key, timeout_ms=30_000) as client:
        until(lambda: client.ready("two"))
        with pytest.raises(InvalidInputError, match=r"an accuracy of 0\.98 or more"):
            client.infer("two", {"x": ONE}, variant="small")
        assert client.infer("two", {"x": ONE}).variant == "full"


def test_frames_of_a_session_and_the_command_line_tell_which_variant_answered(
    several: Service, client: Client, tmp_path: Path
) -> None:
    with client.session("two", deadline=20.0) as session:
        session.send({"x": ONE})
        answer = session.answer(timeout=30)
    assert answer is not None and (answer.variant, answer.accuracy) == ("full", 1.0)
    (tmp_path / "ones.json").write_text('{"x": [[1, 1, 1, 1]]}')
    at = ("--url", several.url, "--key", several.key, "--json")
    told = airserve("predict", "two", str(tmp_path / "ones.json"), "--variant", "small", *at)
    assert told == {"outputs": {"y": [[SMALL] * 4]}, "variant": "small", "accuracy": 0.97}


def test_grpc_asks_by_metadata_or_parameters_and_tells_by_both(several: Service) -> None:
    x = triton.InferInput("x", [1, 4], "FP32")
    x.set_data_from_numpy(ONE)
    key = {"x-api-key": several.key}
    with triton.InferenceServerClient(several.url.removeprefix("http://")) as grpc:
        by_metadata = grpc.infer("two", [x], headers={**key, "airserve-variant": "small"})
        by_parameters = grpc.infer("two", [x], headers=key, parameters={"variant": "small"})
        best = grpc.infer("two", [x], headers=key)
    assert by_metadata.as_numpy("y").tolist() == by_parameters.as_numpy("y").tolist() == [[SMALL] * 4]
    told = by_parameters.get_response().parameters
    assert (told["variant"].string_param, told["accuracy"].double_param) == ("small", 0.97)
    assert best.get_response().parameters["variant"].string_param == "full"


def test_a_cascade_answers_with_the_small_variant_where_that_is_sure(client: Client) -> None:
    sure = client.infer("three", {"x": SURE}, variant="cascade")
    assert (sure.variant, sure.accuracy) == ("cascade", 0.99)
    assert (sure["y"] == SURE * SMALL).all()
    both = client.infer("three", {"x": np.concatenate([ONE, SURE, ONE])}, variant="cascade")
    assert (both["y"] == np.concatenate([ONE * FULL, SURE * SMALL, ONE * FULL])).all()


def test_the_cache_gives_no_answer_of_the_small_variant_to_who_may_have_a_better_one(client: Client) -> None:
    x = np.full((1, 4), 5, np.float32)
    assert client.infer("two", {"x": x}, variant="small").variant == "small"
    assert client.infer("two", {"x": x}).variant == "full"
    again = client.infer("two", {"x": x}, variant="small")
    assert (again.variant, again["y"].tolist()) == ("small", [[5 * SMALL] * 4])


def test_who_answered_is_counted_and_the_configuration_tells_what_is_served(several: Service, client: Client) -> None:
    client.infer("two", {"x": np.ones((3, 4), np.float32)}, variant="small")
    operator = {"authorization": f"Bearer {several.ready['operator_key']}"}
    page = httpx.get(f"{several.url}/metrics", headers=operator, timeout=30).text
    (line,) = [
        each
        for each in page.splitlines()
        if each.startswith("airserve_variant_rows_total{") and 'variant="small"' in each and 'model="two"' in each
    ]
    assert float(line.rsplit(" ", 1)[1]) >= 3
    config = httpx.get(f"{several.url}/v2/models/two/config", headers=several.headers, timeout=30).json()
    assert config["parameters"]["variants"] == {"string_value": "full:1,small:0.97"}
    places = httpx.get(f"{several.url}/v2/models/two/places", headers=several.headers, timeout=30).json()
    assert places["variants"] == [{"name": "full", "accuracy": 1.0}, {"name": "small", "accuracy": 0.97}]


def test_a_client_that_asks_for_an_accuracy_over_the_link_gets_no_less(several: Service) -> None:
    with Client(several.url, several.key, timeout_ms=30_000) as client:
        answer = client.infer("two", {"x": ONE}, accuracy=0.99, place="cloud")
        assert (answer.variant, answer.accuracy) == ("full", 1.0)
        small = client.infer("two", {"x": ONE}, deadline=20.0, variant="small")
        assert (small.variant, small.accuracy) == ("small", 0.97)
        with pytest.raises(InvalidInputError, match="leave out place and fallback"):
            client.infer("two", {"x": ONE}, variant="small", place="device")


def test_what_is_served_must_exist_and_keep_the_floor(tmp_path: Path) -> None:
    package = str(two_variants(tmp_path / "two"))
    state = ("--state-dir", str(tmp_path / "state"))
    unknown = commands.run("publish", package, "--serve", "full,tiny", *state)
    assert unknown.returncode == 3 and "serve names the variant 'tiny'; there are full, small" in unknown.stderr
    below = commands.run("publish", package, "--serve", "full,small", "--floor", "0.98", *state)
    assert below.returncode == 3 and "its accuracy 0.97 is below the floor 0.98" in below.stderr
    assert json.loads(commands.run("models", "list", "--json", *state).stdout) == []
