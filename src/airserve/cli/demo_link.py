"""A demonstration as a device behind an emulated link, which is lost and comes back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import Any

from airserve.cli.demo_service import service_behind
from airserve.cli.output import error_console
from airserve.core.errors import InvalidInputError
from airserve.lab.link_files import load_link
from airserve.lab.service_process import stop

_GRACE_S = 60.0


def behind(link: str, seed: int, seconds: float, cut: str | None) -> int:
    """The same command as a device behind an emulated link, whose service is started here."""
    lost = cut_of(cut, seconds)
    emulated = load_link(link, seed)
    error_console.print(f"a service starts behind {link} …", highlight=False, markup=False)
    with service_behind(emulated, seed=seed) as service:
        read_fd, write_fd = os.pipe()
        command = [sys.executable, "-m", "airserve.cli", *_without(sys.argv[1:], ("--link", "--cut", "--seed"))]
        process = service.emulation.device.popen(
            [*command, "--started-fd", str(write_fd)], env=service.environment, pass_fds=(write_fd,)
        )
        os.close(write_fd)
        try:
            with os.fdopen(read_fd, "rb") as started:
                started.read()
            if lost is not None:
                _wait(process, lost[0])
                service.emulation.cut()
                _wait(process, lost[1])
                service.emulation.restore("10.77.0.9")
            return process.wait(seconds + _GRACE_S)
        finally:
            stop(process)


def _wait(process: subprocess.Popen[Any], seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def cut_of(cut: str | None, seconds: float) -> tuple[float, float] | None:
    """When the link is lost and for how long. Raises `InvalidInputError`."""
    if cut is None:
        return None
    try:
        at, lasts = (float(part) for part in cut.split(","))
    except ValueError:
        raise InvalidInputError(f"--cut {cut}: say AT,SECONDS, such as 5,3") from None
    if not (at >= 0 and lasts >= 0 and at + lasts < seconds):
        raise InvalidInputError(f"--cut {cut}: AT and AT + SECONDS lie within the {seconds:g} s of the demonstration")
    return at, lasts


def _without(arguments: list[str], names: tuple[str, ...]) -> list[str]:
    """The command line without these options and their values."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in names:
            skip = True
        elif not argument.startswith(tuple(f"{name}=" for name in names)):
            kept.append(argument)
    return kept
