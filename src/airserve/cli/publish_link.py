"""The part of `airserve publish` for slow links: measure codecs, add weights for devices, print what was found."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airserve.cli.output import error_console, print_rows

if TYPE_CHECKING:
    from airserve.models.catalog import Catalog
    from airserve.models.link_package import LinkOptions
    from airserve.models.manifest import CodecEntry


def link_options(
    codecs: str | None, data: Path | None, min_accuracy: float, device: str | None, *, deterministic: bool
) -> LinkOptions:
    """The options as they were given; `codecs` is `auto` or names separated by commas."""
    from airserve.models.link_package import LinkOptions

    named = None if codecs is None else [each.strip() for each in codecs.split(",") if each.strip()]
    return LinkOptions([] if named == ["auto"] else named, data, min_accuracy, device, deterministic)


@contextmanager
def with_link(
    path: Path, catalog: Catalog, options: LinkOptions, changes: dict[str, Any], *, quiet: bool
) -> Iterator[Path]:
    """What to publish: `path` itself, or a package made of it with what `options` ask for.

    Prints a table of the codecs that were measured, unless `quiet`.
    """
    from airserve.models.link_package import LinkOptions, prepare
    from airserve.models.published_source import as_folder

    if options == LinkOptions():
        yield path
        return
    given = {field: value for field, value in changes.items() if value is not None}
    limits = catalog.store.policy.limits
    with tempfile.TemporaryDirectory(prefix="airserve-publish-") as scratch:
        with as_folder(path, Path(scratch), given, limits) as folder, error_console.status("measuring …"):
            prepared = prepare(folder, Path(scratch) / "prepared", options, limits)
        if not quiet:
            _print_measured(prepared.measured, options.floor)
        yield prepared.folder


def codec_rows(entries: Sequence[CodecEntry]) -> list[dict[str, Any]]:
    """Codecs as rows of a table."""
    return [
        {
            "tensor": each.tensor,
            "codec": each.codec,
            "bytes a row": each.bytes,
            "accuracy": each.accuracy,
            "metric": each.metric,
        }
        for each in entries
    ]


def _print_measured(measured: Sequence[CodecEntry], floor: float) -> None:
    if not measured:
        return
    kept = [{"listed": "yes" if (each.accuracy or 0.0) >= floor else "no"} for each in measured]
    rows = [{**row, **flag} for row, flag in zip(codec_rows(measured), kept, strict=True)]
    print_rows(rows, as_json=False, title=f"Codecs, listed from an accuracy of {floor:g}", empty="")
