"""Every control action leaves a row: read off the source, so that a new one cannot be forgotten."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import airserve

ROOT = Path(airserve.__file__).parent
ROOMS = ("accounts", "models", "metering", "serving", "server", "cli")

# What no person asks for: it follows from calls that were made, and what it counts is checked by `airserve audit`.
MACHINERY = {
    "accounts/last_used.py": "when a key was last used",
    "accounts/pepper.py": "which pepper the database has seen",
    "metering/budget_alerts.py": "which warnings were given",
    "metering/exports.py": "how far usage was exported",
    "metering/ledger.py": "usage events and the entries that follow from them",
    "metering/nodes.py": "which servers run",
    "metering/payments/report.py": "what a payment provider was told",
    "metering/webhooks/delivery.py": "which messages arrived",
    "metering/webhooks/endpoints.py::send_test": "a message that changes nothing",
    "metering/webhooks/endpoints.py::retry": "which messages are tried again",
    "models/rollout/rollouts.py::save_counts": "what was counted on a new version",
    "server/treasurer.py": "leases of credit and of calls",
}


def writes(tree: ast.Module) -> list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.With]]:
    """Each transaction that writes, with the function that it is in."""
    return [
        (function, block)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for block in ast.walk(function)
        if isinstance(block, ast.With) and any(_writes(item.context_expr) for item in block.items)
    ]


def _writes(expression: ast.expr) -> bool:
    return (
        isinstance(expression, ast.Call)
        and isinstance(expression.func, ast.Attribute)
        and expression.func.attr == "write"
        and not expression.args
    )


def _calls(node: ast.AST) -> set[str]:
    called = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    return {
        each.id if isinstance(each, ast.Name) else each.attr
        for each in called
        if isinstance(each, ast.Name | ast.Attribute)
    }


def _records(block: ast.AST, functions: dict[str, ast.AST], seen: frozenset[str] = frozenset()) -> bool:
    """Whether a block calls `record`, itself or through `functions`: of its module, and those that it imports."""
    names = _calls(block)
    if "record" in names:
        return True
    return any(_records(functions[name], functions, seen | names) for name in names & functions.keys() - seen)


def _imported(tree: ast.Module) -> dict[str, ast.AST]:
    """The functions that a module has from others of ours."""
    found: dict[str, ast.AST] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.ImportFrom):
            continue
        path = ROOT.parent / f"{(statement.module or '').replace('.', '/')}.py"
        if path.exists():
            names = {each.name for each in statement.names}
            other = ast.parse(path.read_text())
            found |= {
                node.name: node for node in other.body if isinstance(node, ast.FunctionDef) and node.name in names
            }
    return found


FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_change_that_somebody_asks_for_is_in_the_log(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions: dict[str, ast.AST] = {
        node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    functions = {**_imported(tree), **functions}
    for function, block in writes(tree):
        name = f"{path.relative_to(ROOT)}::{function.name}"
        known = {str(path.relative_to(ROOT)), name} & MACHINERY.keys()
        assert known or _records(block, functions), f"{name} changes something and records nothing"


def test_the_walk_sees_the_changes_that_there_are_and_one_without_a_row() -> None:
    assert sum(len(writes(ast.parse(path.read_text()))) for path in FILES) >= 20
    tree = ast.parse("def forget(database):\n    with database.write() as connection:\n        connection.execute(1)\n")
    ((_, block),) = writes(tree)
    assert not _records(block, {})
