"""The command `rollout`, without a service: what it writes is what servers follow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airserve.models.catalog import Catalog
from airserve.models.rollout.counts import Counts
from airserve.models.rollout.rollouts import newest_rollout, roll_back, save_counts
from airserve.storage import Database
from tests import commands
from tests.models_for_tests import save_linear


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two versions of `m`; `prod` points at the first."""
    database = Database.open(tmp_path / "state")
    catalog = Catalog(database, tmp_path / "state" / "store")
    catalog.publish(save_linear(tmp_path / "m.onnx", 1))
    catalog.publish(save_linear(tmp_path / "m.onnx", 2), alias=None)
    database.close()
    return tmp_path / "state"


def run(state: Path, *arguments: str) -> tuple[int, str]:
    """The exit code, and what was printed, on one line."""
    done = commands.run("rollout", *arguments, "--state-dir", str(state))
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_rollout_is_begun_looked_at_moved_on_and_stopped(state: Path) -> None:
    code, said = run(state, "m", "2", "--canary", "10%", "--steps", "5,50,100", "--every", "90s")
    assert (code, said) == (
        0, "rollout of m: version 2 answers copies of 100 calls first; see airserve rollout status m"
    )  # fmt: skip
    database = Database.open(state)
    begun = newest_rollout(database, "m")
    assert (begun.steps, begun.every_ns, begun.shadow) == ((10, 50, 100), 90 * 10**9, 100)
    save_counts(database, begun.id, "a", {0: Counts(calls=40, compared=40, disagreed=1, old_calls=90)})
    database.close()
    code, said = run(state, "status", "m")
    assert code == 0
    assert "in the shadow: nobody is answered by it" in said
    assert "calls of this stage: 40 by version 2, 90 by 1" in said
    assert "waits: 60 more calls are to be compared" in said
    assert run(state, "next", "m")[1].startswith("rollout of m: version 2 answers 10 % of the tenants")
    code, said = run(state, "stop", "m")
    assert (code, said.partition(";")[0]) == (0, "rollout of m: version 1 answers everybody again")
    code, said = run(state, "history", "m")
    assert "version 1 → 2: stopped" in said
    assert "advance 10 % by operator:" in said
    assert said.endswith(": stopped by hand")


def test_a_program_reads_how_it_stands_and_sees_by_the_exit_code_that_it_went_back(state: Path) -> None:
    assert run(state, "start", "m", "2", "--shadow", "no", "--guard", "p99<50ms", "--json")[0] == 0
    database = Database.open(state)
    rollout = newest_rollout(database, "m")
    save_counts(database, rollout.id, "a", {1: Counts(calls=90, timed=60, slow=50)})
    roll_back(database, rollout, "p99<50ms: 50 of 60 calls took too long", [])
    database.close()
    code, said = run(state, "status", "m", "--watch", "--json")
    assert code == 1
    status = json.loads(said)
    assert status["rollout"]["state"] == "rolled_back"
    assert [(each["guard"], each["state"], each["bad"], each["count"]) for each in status["guards"]] == [
        ("p99<50ms", "failed", 50, 60)
    ]
    assert [each["action"] for each in json.loads(run(state, "history", "m", "--json")[1])[0]["decisions"]] == [
        "start", "rollback"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("m", "3"), 4, "model 'm' has no version 3"),
        (("m", "1"), 3, "points at version 1 already"),
        (("m", "2", "--canary", "0%"), 3, "'0%' is no percentage"),
        (("m", "2", "--steps", "5,50"), 3, "the last step is 100, not 50"),
        (("m", "2", "--guard", "speed>5"), 3, "'speed>5' is no guard; write guards like error<0.5%"),
        (("m", "2", "--every", "soon"), 3, "'soon' is no length of time"),
        (("m", "2", "--shadow", "yes"), 3, "--shadow is a number of calls, or 'no'"),
        (("status", "m"), 4, "'m' was never rolled out; begin one: airserve rollout m VERSION"),
        (("stop", "m"), 4, "no rollout of 'm' runs"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_do(
    state: Path, arguments: tuple[str, ...], code: int, problem: str
) -> None:
    found, said = run(state, *arguments)
    assert found == code
    assert problem in said


def test_what_would_move_the_alias_meanwhile_is_refused_with_what_to_do(state: Path) -> None:
    assert run(state, "m", "2")[0] == 0
    done = commands.run("models", "rollback", "m", "--state-dir", str(state))
    assert done.returncode != 0
    done = commands.run("models", "alias", "m", "2", "--state-dir", str(state))
    assert done.returncode == 3
    assert "airserve rollout stop m" in " ".join(done.stderr.split())
