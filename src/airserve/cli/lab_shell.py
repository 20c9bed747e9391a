"""`airserve lab shell`: any command as a device behind an emulated link."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import warnings
from typing import Annotated

import typer

from airserve.cli.lab_check import Rootless
from airserve.cli.output import error_console, fail

_SETTINGS = {"allow_interspersed_args": False}


def register(group: typer.Typer) -> None:
    """Add the command to `airserve lab`."""
    group.command("shell", context_settings=_SETTINGS)(shell)


def shell(
    command: Annotated[list[str], typer.Argument(help="The command, behind `--`.")],
    link: Annotated[str, typer.Option(help="A profile, a file, or a constant such as up=10,down=50,rtt=40,loss=1.")],
    seed: Annotated[int, typer.Option(help="Of the profile, and of what is lost.")] = 0,
    cloud: Annotated[str | None, typer.Option(help="Start this command at 10.77.0.1 first.")] = None,
    reach: Annotated[
        list[int] | None, typer.Option(help="A port of 127.0.0.1 that answers at 10.77.0.1, TCP and UDP.")
    ] = None,
    rootless: Rootless = False,
) -> None:
    """Run a command as a device (10.77.0.2) whose only network is an emulated link to 10.77.0.1.

    Files, users and all else are this machine's. The exit code is the command's.

    Example: `airserve lab shell --link 5g-mmwave-driving --reach 8443 -- curl -k https://10.77.0.1:8443/v2`
    """
    from airserve.lab.emulation import Emulation, EmulationWarning
    from airserve.lab.link_files import load_link
    from airserve.lab.reach import Reach

    with warnings.catch_warnings(record=True) as caught, contextlib.ExitStack() as stack:
        warnings.simplefilter("always", EmulationWarning)
        emulation = stack.enter_context(
            Emulation(load_link(link, seed), seed=seed, rootless=True if rootless else None)
        )
        stack.enter_context(Reach(emulation, reach or []))
        try:
            if cloud is not None:
                emulation.cloud.popen(shlex.split(cloud), stdin=subprocess.DEVNULL)
            process = emulation.device.popen(command)
        except FileNotFoundError as error:
            fail(str(error), 127)
        code = _wait(process)
    for warning in caught:
        error_console.print(f"warning: {warning.message}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(code if code >= 0 else 128 - code)


def _wait(process: subprocess.Popen[bytes]) -> int:
    while True:
        # Ctrl-C reaches the command too, which decides what it means.
        with contextlib.suppress(KeyboardInterrupt):
            return process.wait()
