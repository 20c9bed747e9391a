"""The pages leave nothing out: every setting, every command, every role, and every page itself."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import typer

from airserve.accounts.roles import ALLOWED, Action, Role
from airserve.server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_every_setting_is_on_the_operators_page() -> None:
    cells = re.findall(r"^\|([^|]*)\|[^|]*\|[^|]*\|[^|]*\|$", (DOCS / "operate.md").read_text(), re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)}
    assert named == Settings.model_fields.keys() - {"state_dir"}


def test_every_command_is_on_the_operators_page() -> None:
    everything = typer.Typer()
    for noun in vars(importlib.import_module("airserve.cli.app"))["_NOUNS"]:
        importlib.import_module(f"airserve.cli.{noun}").register(everything)
    group: Any = typer.main.get_command(everything)
    page = (DOCS / "operate.md").read_text().partition("## Change things while it runs")[2]
    assert set(re.findall(r"`([a-z-]+)`", page.partition("## More models")[0])) >= group.commands.keys()


def test_the_roles_are_those_of_the_code() -> None:
    said = {}
    for action, row in re.findall(r"^\| `([a-z]+)` \|[^|]*\|(.*)\|$", (DOCS / "control.md").read_text(), re.MULTILINE):
        said[Action(action)] = [cell.strip() == "yes" for cell in row.split("|")]
    roles = (Role.OPERATOR, Role.OWNER, Role.DEVELOPER, Role.BILLING, Role.VIEWER)
    assert said == {action: [action in ALLOWED[role] for role in roles] for action in Action}


def test_every_page_is_in_the_list_of_the_first_page() -> None:
    linked = set(re.findall(r"\]\(docs/([a-z-]+\.md)\)", (ROOT / "README.md").read_text()))
    assert linked == {page.name for page in DOCS.glob("*.md")}
