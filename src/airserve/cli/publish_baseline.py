"""The part of `airserve publish` that measures how inputs look, for drift to be told later."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airserve.cli.output import error_console

if TYPE_CHECKING:
    from airserve.models.catalog import Catalog


@contextmanager
def with_baseline(path: Path, catalog: Catalog, sample: Path | None, changes: dict[str, Any]) -> Iterator[Path]:
    """What to publish: `path` itself, or a package made of it with a baseline of `sample`."""
    if sample is None:
        yield path
        return
    from airserve.models.baseline_package import with_baseline as package_with_baseline
    from airserve.models.published_source import as_folder

    given = {field: value for field, value in changes.items() if value is not None}
    limits = catalog.store.policy.limits
    with tempfile.TemporaryDirectory(prefix="airserve-publish-") as scratch:
        with as_folder(path, Path(scratch), given, limits) as folder, error_console.status("measuring the baseline …"):
            target = package_with_baseline(folder, Path(scratch) / "with-baseline", sample, limits)
        yield target
