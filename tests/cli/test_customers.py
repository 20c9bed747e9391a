"""The operator's commands over customers, as they are typed; and a row in the log for each that changes something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from airserve.cli import app as application
from airserve.core.errors import AirserveError
from airserve.storage import Database
from airserve.storage.audit_log import newest_rows
from airserve.storage.database import FILE_NAME
from tests.models_for_tests import save_linear

NOUNS = (
    "tenants",
    "projects",
    "members",
    "keys",
    "plans",
    "subscribe",
    "budgets",
    "models",
    "publish",
    "prices",
    "log",
)

PLAN = """
code = "team"
name = "Team"
[prices."*"]
per_call = "0.0002"
"""

# What is typed, in order, and what the log then says; {…} are ids of earlier answers, FOLDER is the test's own.
CHANGES: list[tuple[str, list[str]]] = [
    ("tenants create acme", ["tenant.create"]),
    ("tenants currency acme EUR", ["tenant.currency"]),
    ("tenants suspend acme", ["tenant.status"]),
    ("tenants activate acme", ["tenant.status"]),
    ("projects create acme line-4", ["project.create"]),
    ("projects payloads acme line-4 --log --redact prompt", ["project.payload_logging"]),
    ("members add acme ada@example.org --role owner", ["member.add"]),
    ("members add acme bob@example.org", ["member.add"]),
    ("members role acme bob@example.org billing", ["member.role"]),
    ("members remove acme bob@example.org", ["member.remove"]),
    ("keys create acme --project line-4 --routes infer,read --addresses 10.0.0.0/8", ["key.create"]),
    ("keys rotate {id} --overlap 1h", ["key.rotate"]),
    ("keys revoke {id}", ["key.revoke"]),
    ("plans create FOLDER/team.toml", ["plan.publish"]),
    ("subscribe acme team", ["subscription.set"]),
    ("subscribe acme --end --from 2099-01-01", ["subscription.set"]),
    ("budgets set acme 100.00", ["budget.set"]),
    ("budgets remove {id}", ["budget.remove"]),
    ("prices set linear --per-call 0.1", ["price.set"]),
    ("models price linear --per-call 0.1", ["price.set"]),
    ("publish FOLDER/one.onnx --name linear", ["model.publish", "model.alias"]),
    ("publish FOLDER/two.onnx --name linear --alias canary", ["model.publish", "model.alias"]),
    ("models alias linear 2", ["model.alias"]),
    ("models rollback linear", ["model.rollback"]),
    ("models alias linear 1 --alias canary", ["model.alias"]),
    ("models retire linear 2", ["model.retire"]),
    ("projects archive acme line-4", ["project.archive"]),
    ("tenants close acme", ["tenant.status"]),
]
READS = [
    "tenants list", "projects list acme", "members list acme", "members roles", "keys list", "plans list",
    "plans show team@1", "subscribe acme", "budgets list acme", "prices list", "models list", "models show linear",
    "models verify", "log list", "log verify", "log export FOLDER/log.jsonl", "log verify FOLDER/log.jsonl",
    "keys inspect {key}",
]  # fmt: skip


@pytest.fixture(scope="module")
def command() -> typer.Typer:
    """The whole command, as `airserve` puts it together."""
    import importlib

    for noun in NOUNS:
        importlib.import_module(f"airserve.cli.{noun}").register(application.app)
    return application.app


@pytest.fixture
def folder(tmp_path: Path, sqlite_file: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / FILE_NAME).write_bytes(sqlite_file.read_bytes())
    (tmp_path / "team.toml").write_text(PLAN)
    return tmp_path


def typed(command: typer.Typer, folder: Path, line: str, *more: str, answer: Any = None) -> Result:
    words = [word.replace("FOLDER", str(folder)) for word in line.split()]
    if isinstance(answer, dict):
        words = [word.format(**answer) if word in ("{id}", "{key}") else word for word in words]
    return CliRunner().invoke(command, [*words, *more], env={"AIRSERVE_STATE_DIR": str(folder / "state")})


def actions(folder: Path) -> list[str]:
    database = Database.open(folder / "state")
    try:
        return [row.action for row in newest_rows(database, 1000)]
    finally:
        database.close()


def test_every_change_leaves_its_row_and_no_reading_does(command: typer.Typer, folder: Path) -> None:
    save_linear(folder / "one.onnx")
    (folder / "two.onnx").write_bytes(_another(folder / "one.onnx"))
    said: list[str] = []
    answer: Any = None
    for line, expected in CHANGES:
        result = typed(command, folder, line, "--json", answer=answer)
        assert result.exit_code == 0, f"{line}: {result.output}"
        answer = json.loads(result.stdout)
        said += expected
        assert actions(folder) == said, line
        if "key" in answer:
            key = answer["key"]
    for line in READS:
        for more in ([], ["--json"]):
            result = typed(command, folder, line, *more, answer={"key": key})
            assert result.exit_code == 0, f"{line}: {result.output}"
            if more:
                json.loads(result.stdout)
    assert actions(folder) == said


def test_every_command_of_these_nouns_was_typed(command: typer.Typer) -> None:
    group: Any = typer.main.get_command(command)
    there = set()
    for noun in NOUNS:
        inner = getattr(group.commands[noun], "commands", None)
        there |= {noun} if inner is None else {f"{noun} {name}" for name in inner}
    lines = [line for line, _ in CHANGES] + READS
    not_typed = {name for name in there if not any(f"{line} ".startswith(f"{name} ") for line in lines)}
    assert not_typed == set(), "say in CHANGES what the log tells of it, or add it to READS"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("members add acme ada --role owner", "invalid_input"),
        ("members add nobody ada@example.org", "not_found"),
        ("members add acme ada@example.org --role boss", "invalid_input"),
        ("keys create acme --routes fly", "invalid_input"),
        ("keys create acme --addresses 10.0.0.1/8", "invalid_input"),
        ("keys create acme --expires soon", "invalid_input"),
        ("keys create acme --certificate abc", "invalid_input"),
        ("keys create acme --project nothing", "not_found"),
        ("keys inspect as_live_nothing", "invalid_input"),
        ("keys rotate nothing", "not_found"),
        ("plans create FOLDER/missing.toml", "invalid_input"),
        ("plans show nothing", "not_found"),
        ("subscribe acme nothing", "not_found"),
        ("subscribe acme --from 2099-01-01", "invalid_input"),
        ("budgets set acme ten", "invalid_input"),
        ("budgets remove bud_nothing", "not_found"),
        ("tenants currency acme euro", "invalid_input"),
        ("log verify FOLDER/missing.jsonl", "invalid_input"),
    ],
)
def test_a_refusal_says_what_was_wrong(command: typer.Typer, folder: Path, line: str, code: str) -> None:
    typed(command, folder, "tenants create acme")
    before = actions(folder)
    result = typed(command, folder, line)
    assert result.exit_code in (3, 4), result.output
    if isinstance(result.exception, AirserveError):
        assert result.exception.code == code
    assert actions(folder) == before


def test_a_damaged_log_ends_with_an_error(command: typer.Typer, folder: Path) -> None:
    typed(command, folder, "tenants create acme")
    typed(command, folder, "log export FOLDER/log.jsonl")
    file = folder / "log.jsonl"
    file.write_text(file.read_text().replace("tenant.create", "tenant.change"))
    result = typed(command, folder, "log verify FOLDER/log.jsonl")
    assert result.exit_code == 1
    assert "row 1 of the log was changed" in result.output.replace("\n", " ")


def _another(path: Path) -> bytes:
    """The same model under another producer: other content, another version."""
    import onnx

    model = onnx.load(path)
    model.producer_name = "another"
    return bytes(model.SerializeToString())
