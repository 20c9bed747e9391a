"""Where EfficientNet-Lite0 could be cut: all places, what codecs make of their features, and the fastest way a link."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image
from tests.large_models import efficientnet, photographs

from airserve.engines.files import PlainFiles
from airserve.models.package import open_package
from airserve.models.splitting.places import Comparison, Place, Way
from airserve.models.splitting.study import Cut
from airserve.models.splitting.verdict import Asked, Verdict, judge
from benchmarks import report

FACTORS = (2.0, 4.0, 10.0)
DROPS = (0.01, 0.05)
_CROPS = tuple((left, top) for left in (0.0, 0.1, 0.2, 0.3) for top in (0.0, 0.1, 0.2, 0.3))
_SIDE = 0.7


def main() -> None:
    """Measure and publish."""
    package = open_package(efficientnet())
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        _crops(Path(folder))
        asked = Asked(rows=64, most_head_share=1.0, every_cut=True)
        verdict = judge(package.manifest, PlainFiles(package.folder), Path(folder), asked)
    _publish(verdict)


def _crops(folder: Path) -> None:
    """Sixteen parts of each of four photographs: more different pictures than the packages carry."""
    for name, path in photographs().items():
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        width, height = image.size
        for index, (left, top) in enumerate(_CROPS):
            box = [left * width, top * height, (left + _SIDE) * width, (top + _SIDE) * height]
            image.crop([round(edge) for edge in box]).save(folder / f"{name}-{index}.jpg", quality=92)


def _publish(verdict: Verdict) -> None:
    from airserve.models.splitting.places import compare

    measured = verdict.measured
    codecs = [coding.codec for coding in measured.cuts[0].codings]
    cuts = report.Table(
        f"Cuts: bytes and {measured.metric} of {measured.rows} pictures",
        ("cut", "tensor", "shape", "head ms", "head %", *codecs),
        [_cut_row(cut) for cut in measured.cuts],
        ("Head ms are processor time of one core.",),
    )
    uploads = report.Table(
        "The whole model's input",
        ("codec", "bytes", measured.metric, "encode ms"),
        [
            (each.codec, report.number(each.bytes), f"{each.accuracy:.3f}", report.number(1000 * each.encode_s))
            for each in measured.uploads.codings
        ],
    )
    rows = []
    for drop in DROPS:
        for factor in FACTORS:
            found = [compare(measured, link, factor, 1 - drop, most_head_share=0.9) for link in verdict.asked.links]
            rows += [_link_row(drop, each) for each in found]
    links = report.Table(
        "Predicted ms of a call, round trip 50 ms",
        ("accuracy drop", "device", "Mb/s", *(str(place) for place in Place), "to beat", "split pays"),
        rows,
        (
            "device: so many times as slow as this machine. Heads of more than 90 % of the model are left out. "
            "To beat: the fastest way to the whole model in the cloud, pictures of usual quality (JPEG 75 and 85, "
            "WebP 75) whatever their agreement.",
        ),
    )
    panels = [_panel(compare(measured, link, 4.0, 0.99, most_head_share=0.9)) for link in verdict.asked.links[::2]]
    report.publish("splitting", "Splitting EfficientNet-Lite0", [cuts, uploads, links], [], panels)


def _panel(comparison: Comparison) -> report.Bars:
    best = {str(place): way.seconds for place in (Place.DEVICE, Place.SPLIT) if (way := comparison.best(place))}
    values = {**best, "usual picture": comparison.to_beat_s}
    title = f"{comparison.link.rate_bps / 1e6:g} Mb/s, device ×4, 1 % of accuracy"
    return report.Bars(title, "ms a call", {name: 1000 * seconds for name, seconds in values.items()})


def _cut_row(cut: Cut) -> tuple[str, ...]:
    shape = "×".join(map(str, cut.shape[1:]))
    codings = [f"{report.number(each.bytes)} B, {each.accuracy:.3f}" for each in cut.codings]
    return (str(cut.number), cut.tensor, shape, report.number(1000 * cut.head_s), f"{cut.head_share:.0%}", *codings)


def _link_row(drop: float, comparison: Comparison) -> tuple[str, ...]:
    ways = [_said(comparison.best(place)) for place in Place]
    rate = f"{comparison.link.rate_bps / 1e6:g}"
    to_beat = report.number(1000 * comparison.to_beat_s)
    return (f"{drop:.0%}", f"×{comparison.factor:g}", rate, *ways, to_beat, "yes" if comparison.pays else "no")


def _said(way: Way | None) -> str:
    if way is None:
        return "–"
    how = " ".join(part for part in (str(way.cut or ""), way.codec) if part)
    return report.number(1000 * way.seconds) + (f" ({how})" if how else "")
