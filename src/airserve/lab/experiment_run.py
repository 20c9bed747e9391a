"""Runs an experiment: one service in `cloud`, and in `device` one client after the other, over every link."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airserve.core.errors import AirserveError, InvalidInputError
from airserve.lab.call_lines import CallLine, parse_line
from airserve.lab.emulation import Emulation, EmulationWarning
from airserve.lab.emulation_log import DirectionLog
from airserve.lab.experiment import Client, Cut, Experiment, Source, filled
from airserve.lab.link import Link
from airserve.lab.link_files import load_link
from airserve.lab.measures import Call, Run, outages, rates_bps
from airserve.lab.service_process import PORT, own_environment, stop, wait_until_ready

# A client that has not ended this long after its time is stopped.
GRACE_S = 15.0
_MAX_LINES = 1_000_000


@dataclass(frozen=True, slots=True)
class Started:
    """What a started service said in its ready file, and its state folder."""

    ready: dict[str, Any]
    state: Path


def run_experiment(source: Source, progress: Callable[[str], None] = lambda sentence: None) -> list[Run]:
    """Run all of it, and return the runs in the order client within repeat within link.

    `progress` is told what begins. Raises CannotEmulateError where the machine lacks something, InvalidInputError
    for a link or a command that cannot be used, UnreachableError where the service does not start.
    """
    experiment, folder = source.experiment, source.path.parent
    with contextlib.chdir(folder):
        links = {(name, repeat): _link(experiment, name, repeat) for name in experiment.links
                 for repeat in range(experiment.repeats)}  # fmt: skip
        first = next(iter(links.values()))
        with (
            warnings.catch_warnings(action="ignore", category=EmulationWarning),  # each run's report says it
            Emulation(first, seed=experiment.seed) as emulation,
            tempfile.TemporaryDirectory(prefix="airserve-lab-") as kept,
        ):
            progress("the service starts")
            with _service(emulation, experiment, Path(kept)) as started:
                return [
                    _run_client(emulation, experiment, started, client, link, name, repeat, progress)
                    for (name, repeat), link in links.items()
                    for client in experiment.clients
                ]


def _link(experiment: Experiment, name: str, repeat: int) -> Link:
    return load_link(name, seed=experiment.seed + repeat)


@contextlib.contextmanager
def _service(emulation: Emulation, experiment: Experiment, folder: Path) -> Iterator[Started]:
    state, ready_file = folder / "state", folder / "ready.json"
    environment = {**own_environment(), "AIRSERVE_STATE_DIR": str(state)}
    values = {"state": str(state), "address": emulation.cloud_address, "port": str(PORT), "ready": str(ready_file)}
    for command in experiment.service.setup:
        done = subprocess.run(filled(command, values), env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise InvalidInputError(f"setup command {' '.join(command)} failed: {(done.stderr or done.stdout)[-1000:]}")
    with (folder / "service.log").open("w+b") as log:
        process = _start(emulation.cloud.popen, filled(experiment.service.command, values), environment, log, log)
        try:
            yield Started(
                wait_until_ready(process, ready_file, experiment.service.start_seconds, Path(log.name)), state
            )
        finally:
            stop(process)


def _start(popen: Callable[..., Any], command: list[str], env: dict[str, str], output: Any, errors: Any) -> Any:
    try:
        return popen(command, env=env, stdout=output, stderr=errors, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise InvalidInputError(f"the command {command[0]} cannot be run: {error}") from None


def _run_client(
    emulation: Emulation,
    experiment: Experiment,
    started: Started,
    client: Client,
    link: Link,
    link_name: str,
    repeat: int,
    progress: Callable[[str], None],
) -> Run:
    progress(f"{client.name} over {link_name}, repeat {repeat + 1} of {experiment.repeats}")
    seed = experiment.seed + repeat
    ready = started.ready
    values = {name: str(ready.get(name) or "") for name in ("url", "http_url", "ca", "key")}
    values |= {"seconds": f"{experiment.seconds:g}", "seed": str(seed), "link": link_name}
    environment = {**own_environment(), **{f"AIRSERVE_{name.upper()}": value for name, value in values.items()}}
    environment["AIRSERVE_STATE_DIR"] = str(started.state)
    before = emulation.log()
    # The link counts its time from when it is set, and so do the calls.
    began = time.monotonic()
    emulation.set_link(link)
    with _cuts(emulation, experiment.cuts, began):
        watched = _watch(emulation, filled(client.command, values), environment, experiment.seconds + GRACE_S)
    lasted = time.monotonic() - began
    after = emulation.log()
    silences = (*outages(link, lasted), *((cut.at, cut.at + cut.seconds) for cut in experiment.cuts))
    return Run(
        link=link_name,
        client=client.name,
        repeat=repeat,
        seed=seed,
        lasted_s=lasted,
        calls=tuple(_call(line, seen, began) for seen, line in watched.lines),
        cpu_s=watched.cpu_s,
        link_bytes_up=after.up.delivered_bytes - before.up.delivered_bytes,
        link_bytes_down=after.down.delivered_bytes - before.down.delivered_bytes,
        outages=tuple(sorted(silences)),
        rates_up_bps=rates_bps(link, lasted, experiment.cuts),
        late_share=max(_late(before.up, after.up), _late(before.down, after.down)),
        fault=watched.fault,
    )


@dataclass(frozen=True, slots=True)
class _Watched:
    lines: tuple[tuple[float, CallLine], ...]
    cpu_s: float
    fault: str | None


def _watch(emulation: Emulation, command: list[str], environment: dict[str, str], at_most_s: float) -> _Watched:
    """Run a client to its end and collect its lines, each with the time at which it came."""
    lines: list[tuple[float, CallLine]] = []
    fault = None
    with tempfile.TemporaryFile() as errors:
        process = _start(emulation.device.popen, command, environment, subprocess.PIPE, errors)
        stopper = threading.Timer(at_most_s, process.kill)
        stopper.start()
        try:
            for raw in process.stdout:
                call = parse_line(raw)
                if call is not None and len(lines) < _MAX_LINES:
                    lines.append((time.monotonic(), call))
            # Waited for by hand, because this tells the CPU time of just this process and its children.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except AirserveError as error:
            fault, usage = error.message, None
        finally:
            stopper.cancel()
            process.stdout.close()
            stop(process)
        if process.returncode != 0 and fault is None:
            errors.seek(0)
            fault = f"exit code {process.returncode}: {errors.read()[-2000:].decode(errors='replace').strip()}"
    cpu_s = usage.ru_utime + usage.ru_stime if usage is not None else 0.0
    return _Watched(tuple(lines), cpu_s, fault)


@contextlib.contextmanager
def _cuts(emulation: Emulation, cuts: tuple[Cut, ...], began: float) -> Iterator[None]:
    """Cut and restore the link while the body runs; restored at the end in any case."""
    over = threading.Event()

    def play() -> None:
        for cut in sorted(cuts, key=lambda cut: cut.at):
            if over.wait(max(began + cut.at - time.monotonic(), 0.0)):
                return
            emulation.cut()
            over.wait(cut.seconds)
            emulation.restore()

    player = threading.Thread(target=play)
    player.start()
    try:
        yield
    finally:
        over.set()
        player.join()


def _call(line: CallLine, seen: float, began: float) -> Call:
    began_at = line.t if line.t is not None else seen - line.ms / 1e3
    told = (line.ms, line.ok, line.bytes_up, line.bytes_down, line.place, line.codec, line.correct, line.cpu_ms)
    return Call(began_at - began, *told)


def _late(before: DirectionLog, after: DirectionLog) -> float:
    """The share of the packets delivered between two looks that were late."""
    delivered = after.delivered - before.delivered
    late = after.late_share * after.delivered - before.late_share * before.delivered
    return max(late / delivered, 0.0) if delivered else 0.0
