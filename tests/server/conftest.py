from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import uvloop
from onnx import TensorProto

from airserve.engines.options import Sealed
from airserve.metering.prices import set_price
from airserve.models.catalog import Catalog
from airserve.storage import Database
from tests.conftest import Service, start_service
from tests.models_for_tests import save_echo, save_failing, save_linear


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """The service's own event loop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def sealed_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`linear`, `failing`, `text` and `floats` are sealed, `turning` with a new key every 0.2 seconds; `open` is not.

    `linear`, `turning` and `open` double, `text` and `floats` give back what they get. A call to `linear` costs 0.50.
    """
    folder = tmp_path_factory.mktemp("sealed")
    state, linear = folder / "state", save_linear(folder / "linear.onnx")
    database = Database.open(state)
    catalog = Catalog(database, state / "store")
    for path in (
        linear,
        save_failing(folder / "failing.onnx"),
        save_echo(folder / "floats.onnx", TensorProto.FLOAT, "batch", 16),
    ):
        catalog.publish(path, sealed=Sealed())
    catalog.publish(save_echo(folder / "text.onnx", TensorProto.STRING, "batch"), sealed=Sealed(kem="X25519"))
    catalog.publish(linear, name="turning", sealed=Sealed(rotate_s=0.2, overlap_s=0.2))
    catalog.publish(linear, name="open")
    set_price(database, "linear", per_call_nano=500_000_000, now_ns=time.time_ns())
    database.close()
    running = start_service(state, "--no-demo", "--log-level", "debug")
    yield running
    assert running.stop() == 0
