"""Sessions over a real service."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from airserve import AsyncClient, Client
from airserve.client.session import carrier
from airserve.client.session.frame import FrameAnswer
from airserve.core.call import Array
from airserve.core.errors import InvalidInputError, MissingKeyError, NotFoundError, UnreachableError
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_linear, save_mean

SIDE, STEP_S = 48, 0.03


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of `mean`, measured with a codec, and of `linear`, whose small variant for devices gives 2.5 x."""
    folder = tmp_path_factory.mktemp("pictures")
    state = ("--state-dir", str(folder / "state"), "--json")
    random = np.random.default_rng(1)
    np.save(folder / "mean.npy", random.random((12, 3, SIDE, SIDE)).astype(np.float32))
    np.save(folder / "linear.npy", random.normal(size=(30, 4)).astype(np.float32))
    options = ("--codecs", "int8+zstd", "--min-accuracy", "0.9", "--data")
    airserve("publish", str(save_mean(folder / "mean.onnx", SIDE)), *state, *options, str(folder / "mean.npy"))
    small = ("--device", str(save_linear(folder / "small.onnx", 2.5)), "--data", str(folder / "linear.npy"))
    airserve("publish", str(save_linear(folder / "linear.onnx")), *state, *small)
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def scene(number: int) -> Array:
    """A picture that changes a little from frame to frame."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    base = 0.5 + 0.4 * np.sin(6 * x + 0.02 * number) * np.cos(5 * y)
    return np.stack([base, 0.5 * base, 1 - base])[None].astype(np.float32)


def test_every_frame_is_answered_in_threads_over_each_protocol(service: Service) -> None:
    ready = service.ready
    for url, http, spoken in ((ready["http_url"], "auto", "1.1"), (ready["url"], "2", "2"), (ready["url"], "3", "3")):
        with Client(url, ready["key"], ca=ready["ca"], http=http) as client:  # type: ignore[arg-type]
            with client.session("linear", rate=50, deadline=20.0) as session:
                numbers = []
                for number in range(10):
                    numbers.append(session.send({"x": np.full((1, 4), number, np.float32)}))
                    assert session.drain(20)
                answers = list(session.answers(0))
                stats = session.stats
            assert numbers == list(range(1, 11)) == [answer.frame for answer in answers]
            for number, answer in enumerate(answers):
                np.testing.assert_array_equal(answer["y"], np.full((1, 4), 2 * number))
                assert (answer.place, answer.codec, answer.transport) == ("cloud", "raw", f"HTTP/{spoken}")
                assert answer.age_ms > 0
                assert answer.up_bytes > 16
            assert (stats.given, stats.sent, stats.answered, stats.dropped, stats.in_flight) == (10, 10, 10, 0, 0)
            assert stats.reachable
            assert list(session.answers()) == []


def test_an_event_loop_gives_and_reads_at_once(service: Service) -> None:
    async def run() -> list[FrameAnswer]:
        ready = service.ready
        async with AsyncClient(ready["url"], ready["key"], ca=ready["ca"]) as client:
            async with client.session("linear", rate=100, deadline=20.0, outputs=["y"]) as session:

                async def give() -> None:
                    for number in range(30):
                        session.send({"x": [[float(number)] * 4]})
                        await asyncio.sleep(STEP_S)
                    await session.drain(20)
                    await session.close()

                giving = asyncio.create_task(give())
                answers = [answer async for answer in session]
                await giving
                assert session.stats.answered + session.stats.dropped == 30
            return answers

    answers = asyncio.run(run())
    assert len(answers) > 10
    for answer in answers:
        np.testing.assert_array_equal(answer["y"], np.full((1, 4), 2.0 * (answer.frame - 1)))


def test_a_callback_is_told_each_answer_on_one_thread(service: Service) -> None:
    told: list[tuple[int, int]] = []
    with (
        Client(service.url, service.key) as client,
        client.session("linear", on_answer=lambda each: told.append((each.frame, threading.get_ident()))) as session,
    ):
        for _ in range(5):
            session.send({"x": np.ones((1, 4), np.float32)})
            session.drain(20)
        ends_at = time.monotonic() + 20
        while len(told) < 5 and time.monotonic() < ends_at:
            time.sleep(0.01)
    assert [frame for frame, _ in told] == [1, 2, 3, 4, 5]
    assert len({thread for _, thread in told}) == 1
    assert threading.get_ident() not in {thread for _, thread in told}


def test_frames_faster_than_the_rate_replace_each_other_and_are_counted(service: Service) -> None:
    with Client(service.url, service.key) as client, client.session("linear", rate=5, deadline=20.0) as session:
        buffer = np.zeros((1, 4), np.float32)
        began = time.monotonic()
        for number in range(100):
            buffer[:] = number  # a camera writes into the same memory
            session.send({"x": buffer})
            time.sleep(0.01)
        assert session.drain(20)
        took_s = time.monotonic() - began
        answers, stats = list(session.answers(0)), session.stats
    assert stats.answered + stats.dropped == stats.given == 100
    assert 2 <= len(answers) <= 2 + took_s * 5 / 0.8
    for answer in answers:
        np.testing.assert_array_equal(answer["y"], np.full((1, 4), 2.0 * (answer.frame - 1)))
    assert answers[-1].frame == 100


def test_tensors_travel_as_differences_to_frames_that_were_answered(pictures: Service) -> None:
    with Client(pictures.url, pictures.key) as client, client.session("mean", deadline=20.0, accuracy=0.9) as session:
        for number in range(20):
            session.send({"x": scene(number)})
            assert session.drain(20)
        answers = list(session.answers(0))
    assert len(answers) == 20
    assert {answer.codec for answer in answers} == {"int8+zstd"}
    for number, answer in enumerate(answers):
        np.testing.assert_allclose(answer["y"], scene(number).mean((2, 3)), atol=0.01)
        assert answer.accuracy is not None
        assert 0.9 <= answer.accuracy <= 1
    whole, differences = answers[0].up_bytes, [answer.up_bytes for answer in answers[2:]]
    assert max(differences) < 0.7 * whole


def test_a_service_that_keeps_no_frames_is_sent_whole_ones(pictures: Service, tmp_path: Path) -> None:
    shutil.copytree(pictures.state_dir, tmp_path / "state")
    (tmp_path / "state" / "settings.toml").write_text("stream_mb = 0\n")
    running = start_service(tmp_path / "state", "--no-demo")
    key = pictures.key
    with Client(str(running.ready["http_url"]), key) as client, client.session("mean", deadline=20.0) as session:
        for number in range(8):
            session.send({"x": scene(number)})
            assert session.drain(20)
        stats = session.stats
        answers = list(session.answers(0))
    assert running.stop() == 0
    assert stats.answered == len(answers) == 8
    for number, answer in enumerate(answers):
        np.testing.assert_allclose(answer["y"], scene(number).mean((2, 3)), atol=0.01)


def test_what_is_wrong_with_a_frame_ends_the_session(service: Service) -> None:
    with Client(service.url, service.key) as client:
        with client.session("linear") as session:
            session.send({"x": np.zeros((1, 5), np.float32)})
            with pytest.raises(InvalidInputError, match="unexpected shape"):
                list(session.answers(20))
            with pytest.raises(InvalidInputError, match="closed"):
                session.send({"x": np.zeros((1, 4), np.float32)})
        with client.session("nobody") as session:
            session.send({"x": np.zeros((1, 4), np.float32)})
            with pytest.raises(NotFoundError):
                list(session.answers(20))
        with client.session("linear") as session, pytest.raises(InvalidInputError, match="at least one input"):
            session.send({})


def test_what_is_wrong_with_the_key_or_the_options_is_told_at_once(service: Service) -> None:
    with Client(service.url, "as_live_wrong") as client, pytest.raises(MissingKeyError), client.session("linear"):
        pass
    with Client(service.url, service.key) as client:
        for options in ({"rate": 0}, {"deadline": 0}, {"accuracy": 2}, {"fallback": "moon"}):
            with pytest.raises(InvalidInputError):
                client.session("linear", **options)


def test_a_service_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airserve.client.session.engine._OPENS_WITHIN_S", 0.4)
    with Client("http://127.0.0.1:9", "key") as client, pytest.raises(UnreachableError):
        client.session("linear")


def test_the_radio_is_kept_awake_while_no_frames_come(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "KEEP_ALIVE_S", 0.2)
    with Client(service.url, service.key) as client, client.session("linear") as session:
        session.send({"x": np.ones((1, 4), np.float32)})
        session.drain(20)
        pacer = session._engine.carrier.pacer
        heard_at, ends_at = pacer.heard_at, time.monotonic() + 20
        while pacer.heard_at < heard_at + 0.5 and time.monotonic() < ends_at:
            time.sleep(0.02)
        assert pacer.heard_at >= heard_at + 0.5
        assert session.stats.sent == 1


def test_the_device_answers_while_the_service_is_gone(pictures: Service, tmp_path: Path) -> None:
    shutil.copytree(pictures.state_dir, tmp_path / "state")
    running = start_service(tmp_path / "state", "--no-demo")
    x = np.ones((1, 4), np.float32)
    with Client(str(running.ready["http_url"]), pictures.key, cache=tmp_path / "cache") as client:
        client.prepare("linear")
        with client.session("linear", deadline=2.0, fallback="device") as session:
            session.send({"x": x})
            first = session.answer(20)
            assert first is not None
            np.testing.assert_array_equal(first["y"], 2 * x)
            assert first.place == "cloud"
            assert running.stop() == 0
            here = None
            ends_at = time.monotonic() + 20
            while time.monotonic() < ends_at and (here is None or here.place != "device"):
                session.send({"x": x})
                here = session.answer(2.5) or here
            assert here is not None
            assert (here.place, here.up_bytes) == ("device", 0)
            np.testing.assert_array_equal(here["y"], 2.5 * x)
            assert session.stats.on_device >= 1
