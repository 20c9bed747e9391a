"""`airserve nodes`: the servers of an installation, and the credit of budgets that each of them holds."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, settings_of, utc

nodes = typer.Typer(no_args_is_help=True, help="Servers that share the database: list, retire.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(nodes, name="nodes")


@nodes.command("list")
def list_all(state_dir: StateDir, as_json: AsJson = False) -> None:
    """All servers, and whether they are alive. Example: `airserve nodes list --json`."""
    from airserve.metering.nodes import list_nodes
    from airserve.metering.prices import NANO

    now_ns = time.time_ns()
    with open_database(state_dir) as database:
        rows: list[dict[str, Any]] = [
            {
                "id": each.node_id,
                "state": "alive" if each.alive(now_ns) else "stopped" if each.heartbeat_ns == 0 else "lost",
                "starts": each.epoch,
                "started": utc(each.started_ns),
                "heard of": utc(each.heartbeat_ns or None),
                "credit held": f"{each.leased_nano // NANO}.{each.leased_nano % NANO:09d}",
            }
            for each in list_nodes(database)
        ]
    print_rows(rows, as_json=as_json, title="Nodes", empty="no server has been started on this database")


@nodes.command()
def retire(
    node: Annotated[str, typer.Argument(help="The node's id; see airserve nodes list.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Free the credit of a server that will not start again, and forget it.

    First bring its journal into the ledger: run this with its `--state-dir`, or move its `journal` folder to another
    server. Calls that are only in a lost journal are not charged. Example: `airserve nodes retire node-1f3a`.
    """
    from airserve.metering.ledger import fold, last_epoch
    from airserve.metering.nodes import check_retires
    from airserve.metering.nodes import retire as retire_node
    from airserve.metering.prices import NANO
    from airserve.metering.unfinished import end_of_retired
    from airserve.server.installation import journal_folder

    folder = journal_folder(settings_of(state_dir))
    with open_database(state_dir) as database:
        folded = fold(database, folder)
        check_retires(database, node, time.time_ns())
        if end_of_retired(database, folder, node, last_epoch(database, node)):
            folded += fold(database, folder)
        freed = retire_node(database, node, time.time_ns())
    if as_json:
        print_json({"node": node, "freed_nano": freed, **asdict(folded)})
    else:
        console.print(f"node [bold]{node}[/] is retired; {freed / NANO:.2f} of credit is free again", highlight=False)
