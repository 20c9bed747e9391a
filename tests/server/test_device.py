from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.engines.bundle import load_bundle, read_bundle
from airserve.server.apis.device import answer
from airserve.server.device_bundles import DeviceBundle
from tests.conftest import Service, airserve, start_service
from tests.models_for_tests import save_linear

CONTENT = bytes(range(256)) * 3000
BUNDLE = DeviceBundle(CONTENT, hashlib.sha256(CONTENT).hexdigest())
TAG = f'"{BUNDLE.sha256}"'.encode()


@given(st.integers(0, len(CONTENT) - 1))
def test_a_download_that_broke_off_anywhere_goes_on_there(at: int) -> None:
    rest = answer(BUNDLE, {b"range": b"bytes=%d-" % at, b"if-range": TAG})
    assert rest.status == 206
    assert CONTENT[:at] + b"".join(map(bytes, rest.chunks)) == CONTENT
    assert dict(rest.headers)[b"etag"] == TAG


def test_a_part_of_another_bundle_is_never_given() -> None:
    whole = answer(BUNDLE, {b"range": b"bytes=10-", b"if-range": b'"another"'})
    assert (whole.status, whole.length) == (200, len(CONTENT))


@pytest.mark.parametrize(
    ("listed", "status"),
    [(TAG, 304), (b"W/" + TAG, 304), (b'"a", ' + TAG, 304), (b"*", 304), (b'"a"', 200), (b"", 200), (TAG[1:-1], 200)],
)
def test_who_has_it_is_told_so_without_its_bytes(listed: bytes, status: int) -> None:
    found = answer(BUNDLE, {b"if-none-match": listed})
    assert (found.status, found.length) == (status, 0 if status == 304 else len(CONTENT))


@pytest.fixture(scope="module")
def offering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`small` may lie on devices, as it is; `kept` may not."""
    folder = tmp_path_factory.mktemp("device")
    options = ("--state-dir", str(folder / "state"), "--json")
    weights = str(save_linear(folder / "small.onnx", 3))
    airserve("publish", weights, "--device", "same", *options)
    airserve("publish", weights, "--name", "kept", *options)
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


@pytest.mark.server
def test_a_device_fetches_a_bundle_in_parts_and_runs_it(offering: Service) -> None:
    with httpx.Client(base_url=f"{offering.url}/v2/models", headers=offering.headers, http2=True) as client:
        whole = client.get("/small/device")
        tag = whole.headers["etag"]
        assert tag == f'"{hashlib.sha256(whole.content).hexdigest()}"'
        assert client.get("/small/device", headers={"if-none-match": tag}).status_code == 304
        rest = client.get("/small/versions/1/device", headers={"range": "bytes=100-", "if-range": tag})
        assert (rest.status_code, rest.content) == (206, whole.content[100:])
        over = client.get("/small/device", headers={"range": f"bytes={len(whole.content)}-"})
        assert over.status_code == 416
        assert client.head("/small/device").headers["content-length"] == str(len(whole.content))
    model = load_bundle(whole.content, threads=1)
    assert model.run(model.example(2))["y"].shape == (2, 4)
    assert read_bundle(whole.content).head.model == "small"


@pytest.mark.server
def test_weights_that_were_not_given_out_stay_where_they_are(offering: Service) -> None:
    refused = httpx.get(f"{offering.url}/v2/models/kept/device", headers=offering.headers)
    assert refused.status_code == 404
    assert "publishes it with --device" in refused.json()["error"]
    strange = {"authorization": "Bearer as_live_none"}
    assert httpx.get(f"{offering.url}/v2/models/small/device", headers=strange).status_code == 401
