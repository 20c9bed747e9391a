"""The pages of the experiments: what every client did over every link, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence

from airserve.lab.measures import DEADLINES_MS, Run
from benchmarks import report
from benchmarks.link import figures
from benchmarks.link.cells import CUT_S, Settings, workload_folder
from benchmarks.link.figures import ALL, Row
from benchmarks.link.workloads import open_workload

TITLES = {
    "vision": "EfficientNet-Lite0 on photographs, over emulated links",
    "text": "MiniLM on sentences, over emulated links",
    "sensor": "A 64 KB sensor tensor at 20 Hz, over emulated links",
    "chat": "A stream of chat, over emulated links",
}
OURS, CLOUD_FIRST, WAITS, JPEG, FLOATS = "ours", "cloud first", "waits for cloud", "jpeg h2", "float32 h2"
_OWN = (OURS, CLOUD_FIRST, WAITS)
_ABLATED = "ours without "


def write(workload: str, runs: Sequence[Run], settings: Settings) -> None:
    """Print the tables and write `results/link-WORKLOAD.md` and its picture."""
    compared = [run for run in runs if not run.client.startswith(_ABLATED)]
    found, pooled = figures.rows(compared), figures.together(compared)
    tables = [_table("Every client over every link", found, _notes(workload, settings, found))]
    if len({row.link for row in found}) > 1:
        tables.insert(0, _table("All links together", pooled, ()))
    if workload == "vision":
        tables.append(_ratios([*found, *pooled]))
        tables.append(_codecs())
    ablation = _ablation(runs)
    if ablation is not None:
        tables.append(ablation)
    goals = _goals(found, pooled) if workload == "vision" else []
    report.publish(f"link-{workload}", TITLES[workload], tables, goals, _panels(pooled or found))


def _table(title: str, found: Sequence[Row], notes: tuple[str, ...]) -> report.Table:
    columns = ("link", "client", "frames", "answered", "p50 ms", "p95 ms", "p99 ms", "mean ms",
               *(f"≤ {each} ms" for each in DEADLINES_MS), "KB up", "KB down", "right", "on device", "device CPU ms",
               "after an outage, s")  # fmt: skip
    return report.Table(title, columns, [_line(row) for row in found], notes)


def _line(row: Row) -> tuple[str, ...]:
    after = "-"
    if row.after_outage_p50_s is not None and row.after_outage_max_s is not None:
        after = f"{row.after_outage_p50_s:.2f} / {row.after_outage_max_s:.2f}"
    return (
        row.link,
        row.client,
        f"{row.frames:,}",
        _percent(row.answered),
        *(_number(each) for each in (row.p50_ms, row.p95_ms, row.p99_ms, row.mean_ms)),
        *(_percent(each) for each in row.hits),
        *(_number(None if each is None else each / 1e3) for each in (row.bytes_up, row.bytes_down)),
        _percent(row.correct),
        _percent(row.on_device),
        _number(row.cpu_ms),
        after,
    )


def _notes(workload: str, settings: Settings, found: Sequence[Row]) -> tuple[str, ...]:
    opened = open_workload(workload, workload_folder(workload))
    lost = f", of which the network is lost for {CUT_S:g} s in the middle" if settings.cut else ""
    pace = f"A frame each {opened.every_s * 1e3:g} ms for {settings.seconds:g} s{lost}; seed {settings.seed}."
    dropped = (
        f"At most {opened.at_once} call(s) at a time: a frame that comes while they wait is dropped and counts as not "
        "answered. So a slow client is asked less, and its latencies, which are of answers alone, look better than "
        "what its frames went through."
    )
    counted = (
        "KB are of a call, counted by the link with headers, handshakes and what was sent twice. "
        "`right` is the share of answers that are what the whole model says of the whole input. Device CPU is of the "
        "client's process, per call. After an outage: until the next answer over the link, median / longest."
    )
    late = max(row.late_share for row in found)
    busy = f"The machine was too busy for the link: up to {late:.1%} of a run's packets left the emulator late."
    ours = (
        f"`{OURS}` has a deadline of {opened.deadline_s * 1e3:g} ms and chooses the device where that is fastest; "
        f"`{CLOUD_FIRST}` has the same deadline, and the device answers only what the cloud does not in time."
    )
    if workload == "chat":
        ours = "Times are to the first piece of text; those of `chat whole` to the whole answer, of 24 tokens."
    return (pace, dropped, ours, counted, *((busy,) if late > 0.01 else ()))


def _ratios(found: Sequence[Row]) -> report.Table:
    lines = [
        (each.link, each.client, each.other, *(_times(one) for one in (each.bytes_up, each.mean_ms, each.p95_ms)))
        for client, other in ((client, other) for other in (FLOATS, JPEG) for client in _OWN)
        for each in figures.ratios(found, client, other)
    ]
    waits = f"`{WAITS}` is ours with codecs and transports chosen, without a deadline and without the device."
    here = (
        f"Where the device computes all of `{OURS}`, its ratios compare a small model on the device with a large one "
        f"over a link; what the link costs is in `{WAITS}`."
    )
    columns = ("link", "client", "than", "bytes up", "mean", "p95")
    return report.Table("How many times less", columns, lines, (waits, here))


def _codecs() -> report.Table:
    from benchmarks.link.workloads.vision import FLOOR, Vision

    facts = Vision(workload_folder("vision")).facts
    others = facts["asked about"]
    lines = [
        (name, f"{size:,.0f}", f"{accuracy:.4f}", f"{others[name]:.2f}")
        for name, (accuracy, size) in facts["codecs"].items()
    ]
    shown = ", ".join(f"{count} of {name}" for name, count in facts["frames"].items())
    note = (
        f"The share of 256 pictures that keep their best class; from {FLOOR:g} on a codec is offered. They are parts "
        f"of shipped photographs of which the whole model is at least half sure: {facts['kept']} of "
        f"{facts['looked at']} that were looked at. Asked about are 100 other parts: {shown}. Less sure pictures "
        f"change their class much more easily: of any parts of the same photographs, {_kept(facts['unsure'])}. This is "
        "agreement with the whole model, not accuracy against labels, which no shipped picture has. The device's "
        f"weights of 8 bits ({facts['device'][1]:,} bytes) agree on {facts['device'][0]:.2%} of the sample, an eighth "
        "of which set their ranges."
    )
    columns = ("codec", "mean bytes", "agreement", "of the pictures asked about")
    return report.Table("What codecs cost", columns, lines, (note,))


def _kept(shares: dict[str, float]) -> str:
    return " and ".join(f"{codec} keeps {share:.0%}" for codec, share in shares.items())


def _ablation(runs: Sequence[Run]) -> report.Table | None:
    links = {run.link for run in runs if run.client.startswith(_ABLATED)}
    shown = [run for run in runs if run.link in links and run.client.startswith(OURS)]
    return _table("Ours, with one feature turned off", figures.rows(shown), ()) if links else None


def _goals(found: Sequence[Row], pooled: Sequence[Row]) -> list[report.Goal]:
    goals = []
    shares = {row.client: f"{row.client}, {_percent(row.on_device)} on the device" for row in pooled}
    for client in _OWN:
        for each in figures.ratios(pooled, client, FLOATS):
            said = f"{shares[client]}, against float32: times"
            goals += [
                report.Goal(f"{said} fewer bytes", each.bytes_up or 0.0, 20),
                report.Goal(f"{said} less mean latency", each.mean_ms or 0.0, 4),
                report.Goal(f"{said} less p95 latency", each.p95_ms or 0.0, 5),
            ]
        said = f"{shares.get(client)}, against JPEG over warm HTTP/2: times less p95 latency"
        goals += [report.Goal(said, each.p95_ms or 0.0, 1.3) for each in figures.ratios(pooled, client, JPEG)]
    for client in (OURS, CLOUD_FIRST):
        # Of a client that was not on every link, nobody knows the worst.
        if client in shares:
            own = [row for row in found if row.client == client]
            worst = min(own, key=lambda row: row.hits[1])
            said = f"{client}: % of {worst.frames} frames answered in 100 ms, worst link ({worst.link})"
            goals.append(report.Goal(said, 100 * worst.hits[1], 99.9))
            right = min(row.correct or 0.0 for row in own)
            goals.append(report.Goal(f"{client}: % of answers that are right, worst link", 100 * right, 99))
    return goals


def _panels(shown: Sequence[Row]) -> list[report.Bars]:
    where = "all links" if shown and shown[0].link == ALL else (shown[0].link if shown else "")
    first = [row for row in shown if row.link == shown[0].link]
    return [
        report.Bars(f"p95 latency, {where}", "ms", {row.client: row.p95_ms or 0.0 for row in first}),
        report.Bars(f"Answered in 100 ms, {where}", "% of frames", {row.client: 100 * row.hits[1] for row in first}),
        report.Bars(f"Sent for a call, {where}", "KB", {row.client: (row.bytes_up or 0.0) / 1e3 for row in first}),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else report.number(value)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{report.number(ratio)}×"
