"""`airserve split`: where to cut a model between a device and the cloud, and whether that pays."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airserve.cli.output import AsJson, console, print_json
from airserve.cli.quantities import share_of
from airserve.cli.split_report import document, print_verdict
from airserve.cli.state import StateDir, open_catalog
from airserve.core.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from airserve.models.catalog import Catalog, PublishedVersion, VersionInfo
    from airserve.models.splitting.verdict import Verdict


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("split")(split)


def split(
    model: Annotated[str, typer.Argument(help="A published model of the engine onnx.")],
    state_dir: StateDir,
    data: Annotated[
        Path, typer.Option(help="The sample: a folder of pictures, an .npy, or an .npz by input.", show_default=False)
    ],
    max_accuracy_drop: Annotated[str, typer.Option(help="What coded features may cost: 1%, or 0.01.")] = "1%",
    device_factor: Annotated[float, typer.Option(min=0.1, help="A device is so many times as slow as here.")] = 4.0,
    rate: Annotated[list[float] | None, typer.Option(help="Uplink in Mb/s, once or more; 0.5 to 100 without.")] = None,
    rtt_ms: Annotated[float, typer.Option(min=0, help="Round trip of the link, in ms.")] = 50.0,
    max_head_share: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out heads that are more of the model than this.")
    ] = 0.9,
    rows: Annotated[int, typer.Option(min=2, help="Most rows of the sample that are used.")] = 64,
    all_cuts: Annotated[bool, typer.Option("--all-cuts", help="Try codecs also where a cut could not pay.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish/--dry-run", help="Publish the tails that pay, as MODEL.tail-N.")
    ] = False,
    sign: Annotated[Path | None, typer.Option(help="Sign the tails with this private key.")] = None,
    as_json: AsJson = False,
) -> None:
    """Profile the model, find its cuts, code the features, and compare with the whole on the device or in the cloud.

    A tail is published only where a split beats a compressed picture sent to the whole model.
    Example: `airserve split efficientnet --data photographs/ --publish`
    """
    from airserve.models.splitting.verdict import RATES_MBPS, Asked, judge

    if any(each <= 0 for each in rate or ()):
        raise InvalidInputError("--rate is more than 0")
    asked = Asked(
        rates_mbps=tuple(rate or RATES_MBPS),
        rtt_s=rtt_ms / 1000,
        factor=device_factor,
        most_drop=share_of("--max-accuracy-drop", max_accuracy_drop),
        most_head_share=max_head_share,
        rows=rows,
        every_cut=all_cuts,
    )
    with open_catalog(state_dir) as catalog:
        info = current_version(catalog, model)
        verdict = judge(info.manifest, catalog.store.open(info.address), data, asked)
        published = _publish(catalog, info, verdict, asked.floor, sign) if publish else []
    if as_json:
        print_json(document(info.model, info.version, verdict, published))
    else:
        print_verdict(info.model, verdict)
        for each in published:
            console.print(f"published [bold]{each.model}[/] version {each.version}", highlight=False)


def _publish(
    catalog: Catalog, info: VersionInfo, verdict: Verdict, floor: float, sign: Path | None
) -> list[PublishedVersion]:
    """The tails that pay. Each is whole before it is seen; a name that would be too long stops the first already."""
    from airserve.models.signature import read_private_key
    from airserve.models.splitting.tail_package import package_tail, tail_name

    key = None if sign is None else read_private_key(sign)
    for cut in verdict.worth:
        tail_name(info.model, cut)
    published = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airserve-split-")))
        for cut in verdict.worth:
            folder = package_tail(scratch / str(cut.number), info.manifest, info.address, verdict.measured, cut, floor)
            published.append(catalog.publish(folder, sign_with=key))
    return published


def current_version(catalog: Catalog, model: str) -> VersionInfo:
    """The version that `prod` points at, else the newest that is not retired."""
    infos = [info for info in catalog.show(model) if info.retired_ns is None]
    if not infos:
        raise NotFoundError(f"every version of '{model}' was retired")
    return next((info for info in infos if "prod" in info.aliases), infos[-1])
