"""The whole question at once: what is measured of a published model, and where its cuts pay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airserve.engines.files import Files
from airserve.models.manifest import Manifest
from airserve.models.splitting.divisions import best_division
from airserve.models.splitting.minimum_cut import Division
from airserve.models.splitting.places import Comparison, compare, could_pay, worth_it
from airserve.models.splitting.sample import Sample, read_sample
from airserve.models.splitting.study import FEATURE_CODECS, Cut, Study, study
from airserve.models.splitting.transfer import Uplink

RATES_MBPS = (0.5, 2.0, 10.0, 34.0, 100.0)
"""Uplinks from the edge of a cell to a good one; 34 Mb/s is the median of a long drive."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator asks for.

    Links are `rates_mbps` (Mb/s) at `rtt_s`; a device is `factor` times as slow as this machine, may run heads of at
    most `most_head_share` of the time, and answers may lose `most_drop` of their accuracy. At most `rows` of the sample
    are used. With `every_cut`, codecs are tried also where they could not pay.
    """

    rates_mbps: tuple[float, ...] = RATES_MBPS
    rtt_s: float = 0.05
    factor: float = 4.0
    most_drop: float = 0.01
    most_head_share: float = 0.9
    rows: int = 64
    codecs: tuple[str, ...] = FEATURE_CODECS
    every_cut: bool = False

    @property
    def links(self) -> tuple[Uplink, ...]:
        """The links to compare over."""
        return tuple(Uplink(rate * 1e6, self.rtt_s) for rate in self.rates_mbps)

    @property
    def floor(self) -> float:
        """The least accuracy."""
        return 1.0 - self.most_drop


@dataclass(frozen=True, slots=True)
class Verdict:
    """The study, and for each link the comparison and the minimum cut; `worth` are the cuts to publish."""

    asked: Asked
    measured: Study
    comparisons: tuple[Comparison, ...]
    divisions: tuple[Division, ...]
    worth: tuple[Cut, ...]


def judge(manifest: Manifest, files: Files, source: Path, asked: Asked) -> Verdict:
    """Measure the model of a package on the sample at `source`, and decide. Raises as `study` and `read_calls` do."""

    def read(inputs: tuple[str, ...]) -> Sample:
        return read_sample(source, manifest, inputs, most=asked.rows)

    def promising(measured: Study, cut: Cut) -> bool:
        if asked.every_cut:
            return True
        fits = cut.head_share <= asked.most_head_share
        return fits and any(could_pay(measured, cut, link, asked.factor, asked.floor) for link in asked.links)

    measured = study(manifest, files, read, promising, asked.codecs)
    comparisons = _comparisons(measured, asked)
    divisions = tuple(best_division(measured, link, asked.factor, asked.floor) for link in asked.links)
    return Verdict(asked, measured, comparisons, divisions, worth_it(measured, comparisons))


def _comparisons(measured: Study, asked: Asked) -> tuple[Comparison, ...]:
    return tuple(
        compare(measured, link, asked.factor, asked.floor, most_head_share=asked.most_head_share)
        for link in asked.links
    )
