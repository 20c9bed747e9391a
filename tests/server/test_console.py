"""The console: its files and how they are given out; and, where the machine has a browser, what a person sees."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from airserve.models.baseline import BASELINE_NAME, baseline_of, render_baseline, split_rows
from airserve.models.catalog import Catalog
from airserve.models.manifest import Cascade, Manifest, Measured, Tensor, Variant
from airserve.models.package import write_package
from airserve.storage import Database
from tests.conftest import Service, start_service
from tests.models_for_tests import save_linear
from tests.server import browser
from tests.server.wire import Answer, infer, send

pytestmark = pytest.mark.server

HOSTILE = "<img src=x onerror=alert(1)>"
FILES = sorted(path for path in (Path(__file__).parents[2] / "src/airserve/console").iterdir() if path.suffix != ".py")


def measured(p50: float) -> Measured:
    return Measured(
        machine="two cores", threads=2, p50_ms=p50, p99_ms=2 * p50, best_batch=8, rows_per_s=900 / p50,
        memory_bytes=10_000_000,
    )  # fmt: skip


def write_variants(folder: Path) -> Path:
    """A package of five variants, `slow` beaten by the original; its description is no markup."""
    weights = save_linear(folder / "model.onnx")
    size = weights.stat().st_size
    variants = (
        Variant("original", "model.onnx", size, accuracy=1.0, metric="top-1", low=0.99, high=1.0, rows=400,
                measured=measured(12)),
        Variant("int8", "int8.onnx", size // 4, accuracy=0.994, metric="top-1", low=0.98, high=0.998, rows=400,
                method="int8-static", measured=measured(4)),
        Variant("tiny", "tiny.onnx", size // 8, accuracy=0.93, metric="top-1", low=0.91, high=0.95, rows=400,
                measured=measured(1)),
        Variant("slow", "slow.onnx", size, accuracy=0.95, metric="top-1", low=0.93, high=0.97, rows=400,
                measured=measured(20)),
        Variant("cascade", "", 0, accuracy=0.993, metric="top-1", low=0.98, high=0.998, rows=400, measured=measured(3),
                cascade=Cascade(small="tiny", full="original", threshold=0.9, temperature=1.0, share=0.8)),
    )  # fmt: skip
    manifest = Manifest(
        name="frontier", engine="onnx", inputs=(Tensor("x", "FP32", (-1, 4)),), outputs=(Tensor("y", "FP32", (-1, 4)),),
        variants=variants, max_batch=8, description=HOSTILE,
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(200, 4))
    files: dict[str, bytes | Path] = {each.file: weights for each in variants if each.file}
    files[BASELINE_NAME] = render_baseline(baseline_of(manifest, split_rows({"x": x}, {"y": 2 * x})))
    return write_package(folder / "package", manifest, files)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("console")
    database = Database.open(folder / "state")
    Catalog(database, folder / "state" / "store").publish(write_variants(folder))
    database.close()
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def get(service: Service, path: str, **headers: str) -> Answer:
    return send(service, path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("path", ["/console", "/console/", *(f"/console/{file.name}" for file in FILES)])
def test_a_file_comes_without_a_key_under_a_policy_that_runs_our_own_files_alone(path: str, service: Service) -> None:
    answer = get(service, path)
    assert answer.status == 200
    name = path.removeprefix("/console").strip("/") or "index.html"
    assert answer.body == next(file for file in FILES if file.name == name).read_bytes()
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert "frame-ancestors 'none'" in policy and "require-trusted-types-for 'script'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
    assert answer.headers["content-type"].startswith(kinds[Path(name).suffix])
    assert get(service, path, if_none_match=answer.headers["etag"]).status == 304


@pytest.mark.parametrize(
    "path",
    [
        "/console/__init__.py",
        "/console/../settings.toml",
        "/console/%2e%2e/app.py",
        "/console//etc/passwd",
        "/consoles",
    ],
)
def test_nothing_else_is_given_out(path: str, service: Service) -> None:
    assert get(service, path).status in (400, 401, 404)


def test_the_files_are_for_reading(service: Service) -> None:
    assert send(service, "/console", b"{}", headers={}).status == 405


def test_the_files_name_nothing_from_elsewhere_and_nothing_that_is_not_there() -> None:
    names = {file.name for file in FILES}
    for file in FILES:
        text = file.read_text()
        elsewhere = [each for each in re.findall(r"https?://[^\s\"']+", text) if each != "http://www.w3.org/2000/svg"]
        assert not elsewhere, f"{file.name}: {elsewhere}"
        assert set(re.findall(r"/console/([a-z.]+\.(?:js|css))", text)) <= names
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\son\w+=|style=", text), (
            file.name
        )


@pytest.mark.parametrize("path", ["/models", "/models/frontier", "/models/frontier/drift", "/drift"])
def test_what_the_pages_show_is_for_operators_alone(path: str, service: Service) -> None:
    assert get(service, f"/control{path}").status == 401
    assert get(service, f"/control{path}", authorization=f"Bearer {service.key}").status == 403
    answer = get(service, f"/control{path}", authorization=f"Bearer {service.ready['operator_key']}")
    assert answer.status == 200
    if path == "/models/frontier":
        (version,) = msgspec.json.decode(answer.body)
        assert version["manifest"]["variants"][0]["name"] == "original"
        assert version["manifest"]["served"] == ["original"]
        assert version["manifest"]["frontier"] == ["original", "int8", "tiny", "cascade"]
        sizes = {each["name"]: each["weights_bytes"] for each in version["manifest"]["variants"]}
        assert sizes["cascade"] == sizes["tiny"] + sizes["original"]


@pytest.fixture
def page(tmp_path: Path, service: Service) -> Iterator[browser.Page]:
    if browser.executable() is None:
        pytest.skip("no Chromium on this machine")
    with browser.opened(tmp_path / "profile") as page:
        page.open(f"{service.url}/console")
        page.until("document.getElementById('enter') && !document.getElementById('enter').hidden")
        yield page


def call_until_watched(service: Service) -> None:
    """Calls of 8 rows each, until the watch over drift has seen enough of them."""
    x = np.random.default_rng(1).normal(size=(8, 4)) + 3
    document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [8, 4], "data": x.ravel().tolist()}]}
    operator = f"Bearer {service.ready['operator_key']}"
    end, calls = time.monotonic() + 60, 0
    while calls < 20:
        assert time.monotonic() < end
        assert infer(service, "frontier", document).status == 200
        (found,) = msgspec.json.decode(get(service, "/control/models/frontier/drift", authorization=operator).body)
        calls = found["calls"]


def enter(page: browser.Page, key: str) -> None:
    page.evaluate(f"document.getElementById('key').value = '{key}';document.getElementById('enter').requestSubmit()")


def test_a_person_enters_a_key_and_finds_a_model_s_frontier(page: browser.Page, service: Service) -> None:
    enter(page, service.key)
    assert "no operator’s" in page.until("document.getElementById('problem').textContent")
    enter(page, str(service.ready["operator_key"]))
    assert "frontier" in page.until("document.querySelector('main table')?.innerText")
    page.evaluate("document.querySelector('main table a').click()")
    drawn = "[...document.querySelectorAll('.pareto circle')].map((each) => each.parentNode.getAttribute('class'))"
    page.until("document.querySelectorAll('.pareto circle').length === 5")
    assert sorted(page.evaluate(drawn)) == ["best", "best", "best", "best served", "dominated"]
    # What a package says of itself is text.
    assert page.evaluate("document.querySelector('main p').textContent") == HOSTILE
    assert page.evaluate("document.images.length") == 0
    assert "beaten" in page.evaluate("document.querySelector('tr.dominated').innerText")
    assert page.evaluate("document.title") == "frontier – Airserve console"
    assert page.problems == []


def test_every_control_has_a_name_and_a_phone_needs_no_scrolling_sideways(page: browser.Page, service: Service) -> None:
    assert page.evaluate("[...document.querySelectorAll('input')].every((each) => each.labels.length === 1)")
    call_until_watched(service)
    enter(page, str(service.ready["operator_key"]))
    page.until("document.querySelector('main table')")
    assert "left the baseline" in page.evaluate("document.querySelector('.alerts').innerText")
    page.open(f"{service.url}/console#/models/frontier", width=360, height=740)
    page.until("document.querySelectorAll('.pareto circle').length === 5 && document.querySelector('.histogram')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("[...document.querySelectorAll('table')].every((each) => each.caption)")
    assert page.evaluate("document.documentElement.lang") == "en"


def test_the_key_is_gone_once_it_is_forgotten(page: browser.Page, service: Service) -> None:
    enter(page, str(service.ready["operator_key"]))
    page.until("document.querySelector('main table')")
    page.evaluate("document.getElementById('forget').click()")
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    assert page.evaluate("document.querySelector('main').childElementCount") == 0
    assert page.evaluate("document.cookie") == ""
