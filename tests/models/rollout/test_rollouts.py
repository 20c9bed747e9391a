"""Rollouts in the database, on both kinds."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from airserve.core.errors import ConflictError, InvalidInputError, NotFoundError
from airserve.engines.options import Sealed
from airserve.models.catalog import Catalog
from airserve.models.manifest import CodecEntry, Manifest, SplitOf, Tensor
from airserve.models.rollout.counts import Counts
from airserve.models.rollout.fit import check_fit
from airserve.models.rollout.guards import DEFAULT, parse_guards
from airserve.models.rollout.rollouts import (
    Plan,
    advance,
    decisions,
    load_counts,
    newest_rollout,
    next_step,
    roll_back,
    rollouts,
    save_counts,
    start_rollout,
    stop_rollout,
)
from airserve.storage import Database
from airserve.storage.audit_log import newest_rows
from tests.models_for_tests import save_linear

GUARDS = parse_guards("error<1%, agreement>98%")
PLAN = Plan(steps=(5, 100), every_ns=1, guards=GUARDS, shadow=10)


@pytest.fixture
def catalog(tmp_path: Path, database: Database) -> Catalog:
    """Two versions of `m`; `prod` points at the first."""
    catalog = Catalog(database, tmp_path / "state" / "store")
    catalog.publish(save_linear(tmp_path / "m.onnx", 1))
    catalog.publish(save_linear(tmp_path / "m.onnx", 2), alias=None)
    return catalog


def pointed_at(catalog: Catalog) -> int:
    (version,) = [info.version for info in catalog.show("m") if "prod" in info.aliases]
    return version


def test_a_rollout_goes_through_its_steps_and_moves_the_alias_at_the_end(catalog: Catalog, database: Database) -> None:
    rollout = start_rollout(database, "m", 2, PLAN)
    assert (rollout.state, rollout.stage, rollout.percent) == ("shadow", 0, 0)
    # Both versions are to be in memory.
    assert [(spec.version, spec.aliases) for spec in catalog.deployments()] == [(1, ("prod",)), (2, ())]
    seen = []
    while rollout.running:
        seen.append((rollout.state, rollout.percent, pointed_at(catalog)))
        taken = advance(database, rollout, "every guard holds", [{"guard": "error<1%"}])
        assert taken is not None
        assert advance(database, rollout, "by another server", []) is None
        rollout = taken
    assert seen == [("shadow", 0, 1), ("canary", 5, 1), ("canary", 100, 1)]
    assert newest_rollout(database, "m") == rollout
    assert (rollout.state, rollout.percent, pointed_at(catalog)) == ("complete", 100, 2)
    made = decisions(database, rollout.id)
    assert [(each.action, each.percent) for each in made] == [
        ("start", 0), ("advance", 5), ("advance", 100), ("complete", 100)
    ]  # fmt: skip
    assert msgspec.json.decode(made[1].figures) == [{"guard": "error<1%"}]
    logged = [row.action for row in newest_rows(database, 10) if row.object_id == "m@prod"]
    assert logged[-5:] == ["rollout.start", "rollout.advance", "rollout.advance", "model.rollout", "rollout.complete"]
    # The version before is what a rollback by hand leads to.
    assert catalog.rollback("m") == 1


def test_a_rollback_leaves_the_alias_and_says_why(catalog: Catalog, database: Database) -> None:
    rollout = start_rollout(database, "m", 2, PLAN)
    assert roll_back(database, rollout, "agreement>98%: 5 of 5 answers were other ones", []) is not None
    assert roll_back(database, rollout, "again", []) is None
    ended = newest_rollout(database, "m")
    assert (ended.state, ended.percent, ended.reason) == (
        "rolled_back", 0, "agreement>98%: 5 of 5 answers were other ones"
    )  # fmt: skip
    assert pointed_at(catalog) == 1
    assert [spec.version for spec in catalog.deployments()] == [1]
    assert decisions(database, rollout.id)[-1].actor == "service:guards"
    with pytest.raises(NotFoundError, match="no rollout of 'm' runs"):
        stop_rollout(database, "m")


def test_while_one_runs_nothing_else_moves_its_alias(catalog: Catalog, database: Database, tmp_path: Path) -> None:
    start_rollout(database, "m", 2, PLAN)
    third = save_linear(tmp_path / "m.onnx", 3)
    for attempt in (
        lambda: catalog.set_alias("m", "prod", 2),
        lambda: catalog.publish(third),
        lambda: start_rollout(database, "m", 2, PLAN),
        lambda: catalog.retire("m", 2),
    ):
        with pytest.raises(ConflictError, match="stop"):
            attempt()
    assert catalog.publish(third, alias=None).version == 3
    catalog.set_alias("m", "canary", 3)
    assert stop_rollout(database, "m").state == "stopped"
    catalog.set_alias("m", "prod", 3)


def test_a_step_by_hand_is_taken_and_noted(catalog: Catalog, database: Database) -> None:
    start_rollout(database, "m", 2, PLAN)
    assert [next_step(database, "m", actor="operator:ada").state for _ in range(3)] == ["canary", "canary", "complete"]
    (rollout,) = rollouts(database)
    made = decisions(database, rollout.id)
    assert [(each.actor, each.reason) for each in made[1:]] == [("operator:ada", "by hand")] * 3
    assert pointed_at(catalog) == 2


def test_counts_are_kept_by_stage_and_server(catalog: Catalog, database: Database) -> None:
    rollout = start_rollout(database, "m", 2, PLAN)
    save_counts(database, rollout.id, "a", {0: Counts(calls=1)})
    save_counts(database, rollout.id, "b", {0: Counts(calls=2), 1: Counts(failed=3)})
    save_counts(database, rollout.id, "a", {0: Counts(calls=9)})
    assert load_counts(database, rollout.id) == {
        (0, "a"): Counts(calls=9), (0, "b"): Counts(calls=2), (1, "b"): Counts(failed=3)
    }  # fmt: skip


def test_what_cannot_be_rolled_out_is_refused(catalog: Catalog, database: Database) -> None:
    for wrong, plan in {
        "points at version 1 already": (1, "prod", PLAN),
        "has no version 7": (7, "prod", PLAN),
        "no alias 'canary'": (2, "canary", PLAN),
        "the last step is 100": (2, "prod", msgspec.structs.replace(PLAN, steps=(5, 50))),
        "percentages that rise": (2, "prod", msgspec.structs.replace(PLAN, steps=(50, 5, 100))),
        "takes a second": (2, "prod", msgspec.structs.replace(PLAN, every_ns=0)),
        "calls are compared": (2, "prod", msgspec.structs.replace(PLAN, shadow=-1)),
    }.items():
        version, alias, asked = plan
        with pytest.raises((ConflictError, InvalidInputError, NotFoundError), match=wrong):
            start_rollout(database, "m", version, asked, alias=alias)
    assert rollouts(database) == []


def test_what_is_left_out_suits_the_model(catalog: Catalog, database: Database) -> None:
    rollout = start_rollout(database, "m", 2, Plan())
    assert (", ".join(rollout.guards), rollout.shadow, rollout.steps) == (DEFAULT, 100, (5, 25, 50, 100))


OLD = Manifest(
    name="m", engine="onnx", inputs=(Tensor("x", "FP32", (-1, 4)),), outputs=(Tensor("y", "FP32", (-1, 3)),),
    max_batch=8, labels=("a", "b", "c"), codecs=(CodecEntry("x", "int8+zstd"),),
)  # fmt: skip
TEXT = Manifest(name="m", engine="llama", inputs=OLD.inputs, outputs=OLD.outputs)


@pytest.mark.parametrize(
    ("problem", "changes"),
    [
        ("inputs have other names", {"inputs": (Tensor("z", "FP32", (-1, 4)),)}),
        ("input 'x' is FP64", {"inputs": (Tensor("x", "FP64", (-1, 4)),)}),
        ("input 'x' has the shape", {"inputs": (Tensor("x", "FP32", (-1, 5)),)}),
        ("outputs", {"outputs": (Tensor("y", "FP32", (-1, 4)),)}),
        ("most rows", {"max_batch": 4}),
        ("most rows", {"max_batch": 0}),
        ("codec int8", {"codecs": ()}),
        ("generates text", {"engine": "llama"}),
        ("sealed", {"sealed": Sealed()}),
        ("split", {"split": SplitOf("w", "ab", "head.onnx", "x", 0.5)}),
        ("labels", {"labels": ("b", "a", "c")}),
    ],
)
def test_a_version_for_which_calls_would_fail_is_refused(problem: str, changes: dict[str, object]) -> None:
    with pytest.raises((ConflictError, InvalidInputError), match=problem):
        check_fit("m", OLD, msgspec.structs.replace(OLD, **changes), GUARDS, 10)


def test_a_version_that_takes_more_fits() -> None:
    wider = {"inputs": (Tensor("x", "FP32", (-1, -1)),), "max_batch": 16}
    more = (*OLD.codecs, CodecEntry("x", "fp16+zstd"))
    check_fit("m", OLD, msgspec.structs.replace(OLD, codecs=more, **wider), GUARDS, 10)


def test_of_generated_text_nobody_asks_whether_it_agrees() -> None:
    errors = parse_guards("error<1%")
    check_fit("m", TEXT, TEXT, errors, 0)
    with pytest.raises(InvalidInputError, match="leave the guard 'agreement' out"):
        check_fit("m", TEXT, TEXT, GUARDS, 0)
    with pytest.raises(InvalidInputError, match="leave --shadow out"):
        check_fit("m", TEXT, TEXT, errors, 10)
