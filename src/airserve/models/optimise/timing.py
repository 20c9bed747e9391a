"""Time a variant in a process of its own, and make one figure of several rounds.

A fresh process for each round: what another variant left in memory or in caches of libraries has no say.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence

import msgspec
import numpy as np

from airserve.codecs.frame import encode
from airserve.core.call import Tensors
from airserve.core.errors import ModelFailedError
from airserve.models.manifest import Measured
from airserve.models.optimise.child_process import run_module
from airserve.models.optimise.family import Round
from airserve.models.optimise.timing_process import Failed, Job

_START_SECONDS = 120
_AS_GOOD = 0.97


class _Answer(msgspec.Struct, frozen=True):
    round: Round | None = None
    failed: Failed | None = None


def framed(calls: Sequence[Tensors]) -> list[dict[str, bytes]]:
    """Calls as a job carries them."""
    return [{name: encode(array, "fp32") for name, array in call.items()} for call in calls]


def time_once(job: Job) -> Round:
    """One round. Raises `ModelFailedError` with what the process said, or that it ended without a word."""
    message, seconds = msgspec.msgpack.encode(job), _START_SECONDS + 100 * job.seconds
    try:
        done = run_module("timing_process", message, seconds=seconds, what="times variants")
        answer = msgspec.msgpack.decode(done.stdout, type=_Answer)
    except subprocess.TimeoutExpired:
        raise ModelFailedError("it could not be timed: a run takes minutes") from None
    except msgspec.MsgspecError:
        raise ModelFailedError(f"the process that timed it ended with code {done.returncode}") from None
    if answer.round is None:
        raise ModelFailedError(answer.failed.message if answer.failed else "the process that timed it said nothing")
    return answer.round


def measured(rounds: Sequence[Round], machine: str) -> Measured:
    """All rounds as one: percentiles of all latencies, the median of rates, memory and energy.

    The best batch is the smallest with at least 97 % of the best rate.
    """
    latencies = np.concatenate([each.latencies_ms for each in rounds])
    sizes = sorted(set.intersection(*(set(each.rows_per_s) for each in rounds)))
    rates = {size: statistics.median(each.rows_per_s[size] for each in rounds) for size in sizes}
    best = next(size for size in sizes if rates[size] >= _AS_GOOD * max(rates.values()))
    energies = [each.energy_mj for each in rounds if each.energy_mj is not None]
    return Measured(
        machine=machine,
        threads=rounds[0].threads,
        p50_ms=_digits(float(np.percentile(latencies, 50))),
        p99_ms=_digits(float(np.percentile(latencies, 99))),
        best_batch=best,
        rows_per_s=_digits(rates[best]),
        memory_bytes=int(statistics.median(each.memory_bytes for each in rounds)),
        energy_mj=_digits(statistics.median(energies)) if energies else None,
    )


def _digits(value: float) -> float:
    """Four that matter: no more are true."""
    return float(f"{value:.4g}")
