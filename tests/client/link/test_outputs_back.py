"""Outputs come in a codec where that pays, and only where it is accurate enough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from airserve.client.link.estimate import Exchange, LinkEstimate
from airserve.client.link.offer import CodecOffer, Offer
from airserve.client.link.outputs_back import Back, outputs_back
from airserve.lab.constant_link import constant_link
from airserve.lab.emulation import Emulation, missing
from airserve.lab.reach import Reach
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_wide

WIDTH, ROWS = 512, 100
OFFER = Offer(
    "m",
    codecs=(
        CodecOffer("x", "fp16", 1.0, None, 100.0),
        CodecOffer("y", "int8", 0.995, None, 250.0),
        CodecOffer("y", "int4", 0.9, None, 100.0),
    ),
)


def link_of(rate_down: float, rtt_s: float = 0.04) -> LinkEstimate:
    """Seen by ten answers of 100 KB."""
    link = LinkEstimate()
    for number in range(10):
        link.add(Exchange(at=float(number), up_bytes=1000, down_bytes=100_000, head_s=rtt_s, body_s=1e5 / rate_down))
    return link


def test_a_slow_way_back_gets_the_smallest_codec_that_reaches_the_floor() -> None:
    slow = link_of(2e5)
    back = outputs_back(OFFER, {"y": 1000.0, "z": 4.0}, 100, slow, None)
    assert (dict(back.codecs), back.accuracy, back.names) == ({"y": "int8"}, 0.995, ("y", "z"))
    assert dict(outputs_back(OFFER, {"y": 1000.0}, 100, slow, 0.85).codecs) == {"y": "int4"}
    assert not outputs_back(OFFER, {"y": 1000.0}, 100, slow, 1.0).codecs


def test_small_outputs_and_fast_links_and_what_was_never_seen_stay_as_they_are() -> None:
    assert not outputs_back(OFFER, {"y": 1000.0}, 1, link_of(2e5), None).codecs
    assert not outputs_back(OFFER, {"y": 1000.0}, 20, link_of(1e8, 0.002), None).codecs
    assert outputs_back(OFFER, {}, 100, link_of(2e5), None) == Back()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("wide")
    np.save(folder / "sample.npy", np.random.default_rng(1).normal(size=(20, WIDTH)).astype(np.float32))
    airserve("publish", str(save_wide(folder / "wide.onnx", WIDTH)), "--state-dir", str(folder / "state"), "--json",
             "--codecs", "fp16", "--data", str(folder / "sample.npy"))  # fmt: skip
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from airserve import Client

x = np.random.default_rng(3).normal(size=(60, 512)).astype(np.float32)
with Client(sys.argv[1], sys.argv[2], cache=Path(sys.argv[3]), adapt=True, seed=1) as client:
    sizes = []
    for number in range(6):
        answer = client.infer("wide", {"x": x})
        assert np.allclose(answer["y"], x, atol=0.02)
        sizes.append(bool((answer["y"] == answer["y"].astype(np.float16)).all()))
    exact = client.infer("wide", {"x": x}, accuracy=1.0)
    assert (exact["y"] != exact["y"].astype(np.float16)).any(), "above the codec's accuracy nothing is coded"
print(json.dumps(sizes))
"""


@pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))
@pytest.mark.filterwarnings("ignore::airserve.lab.emulation.EmulationWarning")
def test_over_a_slow_link_outputs_are_coded_once_their_size_is_known(wide: Service, tmp_path: Path) -> None:
    port = int(wide.url.rpartition(":")[2])
    with Emulation(constant_link("up=50,down=4,rtt=20"), seed=1) as emulation, Reach(emulation, [port]):
        url = f"http://{Emulation.cloud_address}:{port}"
        done = emulation.device.run(
            [sys.executable, "-c", PROGRAM, url, wide.key, str(tmp_path)], timeout=60, check=False
        )
    assert "true" in done.stdout, done.stderr
