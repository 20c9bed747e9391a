"""The part of `airserve publish` that says which variants of a model answer calls."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airserve.models.catalog import Catalog


@contextmanager
def with_variants(path: Path, catalog: Catalog, serve: str | None, floor: float | None) -> Iterator[Path]:
    """What to publish: `path` itself, or a package made of it whose manifest says so.

    `serve` is names separated by commas. Raises `BadPackageError` for a variant that there is not, or that is below the
    floor.
    """
    if serve is None and floor is None:
        yield path
        return
    import msgspec

    from airserve.models.manifest import FILE_NAME, check_manifest
    from airserve.models.package import open_package, write_package
    from airserve.models.published_source import as_folder

    changes: dict[str, Any] = {} if floor is None else {"accuracy_floor": floor}
    if serve is not None:
        changes["serve"] = tuple(each.strip() for each in serve.split(",") if each.strip())
    with (
        tempfile.TemporaryDirectory(prefix="airserve-publish-") as scratch,
        as_folder(path, Path(scratch), {}, catalog.store.policy.limits) as folder,
    ):
        package = open_package(folder)
        manifest = check_manifest(msgspec.structs.replace(package.manifest, **changes))
        files = {file: folder / file for file in package.files if file != FILE_NAME}
        yield write_package(Path(scratch) / "variants", manifest, files)
