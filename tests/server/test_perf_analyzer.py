"""Triton's load generator, a program that nobody here wrote, against a running service."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Service

FOLDER = Path(__file__).parents[2] / ".cache" / "perf-analyzer"
PROGRAM = FOLDER / "bin" / "perf_analyzer"
ENVIRONMENT = {**os.environ, "LD_LIBRARY_PATH": str(FOLDER / "nvidia" / "cuda_runtime" / "lib")}


def missing_libraries() -> str:
    done = subprocess.run(["ldd", PROGRAM], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return ", ".join(re.findall(r"(\S+) => not found", done.stdout))


def analyze(service: Service, protocol: str, *arguments: str) -> str:
    address = service.url.removeprefix("http://")
    common = ["-u", address, "-i", protocol, "-H", f"authorization:Bearer {service.key}"]
    window = [
        "--measurement-mode",
        "count_windows",
        "--measurement-request-count",
        "50",
        "-p",
        "300",
        "-s",
        "99",
        "-r",
        "5",
    ]
    done = subprocess.run(
        [PROGRAM, *common, *window, *arguments],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Throughput: " in done.stdout, done.stdout + done.stderr
    assert "failed" not in done.stderr.lower(), done.stderr
    return done.stdout


@pytest.mark.skipif(platform.machine() != "x86_64", reason="perf_analyzer is a program for x86_64")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_measures_a_model_and_reads_what_the_server_says_of_it(service: Service, protocol: str) -> None:
    if missing := missing_libraries():
        pytest.skip(f"perf_analyzer needs {missing} (Debian: libb64-0d)")
    said = analyze(service, protocol, "-m", "digits", "--concurrency-range", "2")
    assert float(re.search(r"Throughput: ([0-9.]+)", said)[1]) > 0  # type: ignore[index]
    # All eight durations of the statistics extension are needed for this part.
    sent = int(re.search(r"Client:\s+Request count: (\d+)", said)[1])  # type: ignore[index]
    counted = int(re.search(r"Successful request count: (\d+)", said)[1])  # type: ignore[index]
    assert counted >= sent > 0
    assert re.search(r"queue \d+ usec \+ compute input \d+ usec \+ compute infer \d+ usec", said)
