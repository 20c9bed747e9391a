"""What `airserve split` prints: the cuts, what codecs make of them, and the fastest way over each link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airserve.cli.output import console, print_rows

if TYPE_CHECKING:
    from airserve.models.catalog import PublishedVersion
    from airserve.models.splitting.codings import Coding
    from airserve.models.splitting.minimum_cut import Division
    from airserve.models.splitting.places import Comparison, Way
    from airserve.models.splitting.study import Cut
    from airserve.models.splitting.verdict import Verdict


def print_verdict(model: str, verdict: Verdict) -> None:
    """Three tables and a sentence."""
    measured = verdict.measured
    title = f"{model}: {len(measured.cuts)} cuts, {measured.metric} over {measured.rows} rows, times of one core here"
    print_rows([_cut_row(cut) for cut in measured.cuts], as_json=False, title=title, empty="no float tensor to cut at")
    print_rows(
        [_coding_row("whole", each) for each in measured.uploads.codings]
        + [
            _coding_row(f"split {cut.number}", each)
            for cut in measured.cuts
            for each in cut.codings
            if each.accuracy >= verdict.asked.floor
        ],
        as_json=False,
        title="What is sent, where it is accurate enough",
        empty="",
    )
    pairs = zip(verdict.comparisons, verdict.divisions, strict=True)
    print_rows(
        [_link_row(comparison, division) for comparison, division in pairs],
        as_json=False,
        title=f"Predicted ms of a call, on a device {verdict.asked.factor:g} times as slow as this machine",
        empty="",
    )
    console.print(conclusion(verdict), highlight=False)


def conclusion(verdict: Verdict) -> str:
    """Whether it pays, in a sentence or two."""
    from airserve.models.splitting.places import Place

    alone = all(comparison.fastest.place is Place.DEVICE for comparison in verdict.comparisons)
    hint = (
        " The device alone is faster on all of these links: a split is for devices that may not have the whole model."
    )
    if not verdict.worth:
        return "No split beats the whole model in the cloud on compressed input over any of these links." + (
            " The device alone is the fastest on all of them." if alone else ""
        )
    names = ", ".join(f"split {cut.number}" for cut in verdict.worth)
    return f"Worth it: {names}." + (hint if alone else "")


def document(model: str, version: int, verdict: Verdict, published: Sequence[PublishedVersion]) -> dict[str, Any]:
    """The same as one JSON document; times in ms."""
    measured = verdict.measured
    return {
        "model": model,
        "version": version,
        "metric": measured.metric,
        "rows": measured.rows,
        "whole_ms": _ms(measured.profile.total_s),
        "prepare_ms": _ms(measured.uploads.prepare_s),
        "uploads": [_coding(each) for each in measured.uploads.codings],
        "cuts": [_cut(cut) for cut in measured.cuts],
        "links": [_link(*pair) for pair in zip(verdict.comparisons, verdict.divisions, strict=True)],
        "worth": [cut.number for cut in verdict.worth],
        "conclusion": conclusion(verdict),
        "published": [asdict(each) for each in published],
    }


def _cut_row(cut: Cut) -> dict[str, Any]:
    best = min(cut.codings, key=lambda each: (-round(each.accuracy, 2), each.bytes), default=None)
    return {
        "split": cut.number,
        "tensor": cut.tensor,
        "shape": "×".join(map(str, cut.shape[1:])),
        "head ms": _ms(cut.head_s),
        "head": f"{cut.head_share:.0%}",
        "float32 bytes": 4 * cut.values,
        "most accurate": "not tried" if best is None else f"{best.codec} {best.bytes:.0f} bytes {best.accuracy:.3f}",
    }


def _coding_row(name: str, coding: Coding) -> dict[str, Any]:
    return {
        "of": name,
        "codec": coding.codec,
        "bytes": f"{coding.bytes:.0f}",
        "accuracy": f"{coding.accuracy:.3f}",
        "encode ms": _ms(coding.encode_s),
        "decode ms": _ms(coding.decode_s),
    }


def _link_row(comparison: Comparison, division: Division) -> dict[str, Any]:
    from airserve.models.splitting.places import Place

    ways = {str(place): _said(comparison.best(place)) for place in Place}
    return {
        "Mb/s": f"{comparison.link.rate_bps / 1e6:g}",
        **ways,
        "to beat": f"{_ms(comparison.to_beat_s):.0f}",
        "fastest": comparison.fastest.name,
        "split pays": "yes" if comparison.pays else "no",
        "minimum cut": _division(division),
    }


def _said(way: Way | None) -> str:
    if way is None:
        return "–"
    where = f"{way.cut}: " if way.cut is not None else ""
    return f"{way.seconds * 1000:.0f}" + (f" ({where}{way.codec})" if way.codec else "")


def _division(division: Division) -> str:
    if not division.crossing:
        return "all on the device"
    if not division.device:
        return "all in the cloud"
    return f"{len(division.device)} operations on the device, {len(division.crossing)} tensors cross"


def _cut(cut: Cut) -> dict[str, Any]:
    return {
        "number": cut.number,
        "tensor": cut.tensor,
        "shape": list(cut.shape),
        "head_ms": _ms(cut.head_s),
        "tail_ms": _ms(cut.tail_s),
        "head_share": round(cut.head_share, 4),
        "codecs": [_coding(each) for each in cut.codings],
    }


def _coding(coding: Coding) -> dict[str, Any]:
    return {
        "codec": coding.codec,
        "bytes": round(coding.bytes, 1),
        "accuracy": coding.accuracy,
        "encode_ms": _ms(coding.encode_s),
        "decode_ms": _ms(coding.decode_s),
    }


def _link(comparison: Comparison, division: Division) -> dict[str, Any]:
    from airserve.models.splitting.places import Place

    best = [way for place in Place if (way := comparison.best(place)) is not None]
    return {
        "rate_mbps": comparison.link.rate_bps / 1e6,
        "rtt_ms": _ms(comparison.link.rtt_s),
        "ways": [
            {"way": way.name, "codec": way.codec, "bytes": round(way.bytes, 1), "accuracy": way.accuracy,
             "ms": _ms(way.seconds)}
            for way in best
        ],
        "to_beat_ms": _ms(comparison.to_beat_s),
        "fastest": comparison.fastest.name,
        "split_pays": comparison.pays,
        "minimum_cut": {"on_device": len(division.device), "crossing": list(division.crossing),
                        "ms": _ms(division.seconds)},
    }  # fmt: skip


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
