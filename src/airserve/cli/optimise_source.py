"""What `airserve optimise` works on: a published model, or a package that is not published yet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airserve.cli.split import current_version
from airserve.core.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from airserve.models.catalog import Catalog
    from airserve.models.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Given:
    """The package in `folder` with its `files`; `version` is None where it is not published."""

    folder: Path
    manifest: Manifest
    address: str
    files: Sequence[str]
    version: int | None


@contextmanager
def opened(catalog: Catalog, model: str, version: int | None) -> Iterator[Given]:
    """The package of a model's name, or at a path. Raises `NotFoundError` for what is neither."""
    path = Path(model)
    if path.exists() and (path.is_dir() or path.suffix):
        with _package(path, catalog) as given:
            yield given
        return
    if path.suffix or "/" in model:
        raise NotFoundError(f"{model} does not exist; give a published model's name, a package, an .onnx or a .gguf")
    with _published(catalog, model, version) as given:
        yield given


@contextmanager
def _package(path: Path, catalog: Catalog) -> Iterator[Given]:
    from airserve.models.onnx_admission import admit
    from airserve.models.package import open_package
    from airserve.models.published_source import as_folder

    limits = catalog.store.policy.limits
    with (
        tempfile.TemporaryDirectory(prefix="airserve-optimise-") as scratch,
        as_folder(path, Path(scratch), {}, limits) as folder,
    ):
        package = open_package(folder)
        if package.manifest.engine == "onnx":
            # As publishing does, before anything of the model runs in this process.
            for file in {each.file for each in package.manifest.variants if each.file}:
                admit(package.path(file), limits)
        yield Given(folder, package.manifest, package.address, package.files, None)


@contextmanager
def _published(catalog: Catalog, model: str, version: int | None) -> Iterator[Given]:
    if version is None:
        info = current_version(catalog, model)
    else:
        found = [each for each in catalog.show(model) if each.version == version]
        if not found:
            raise NotFoundError(f"model '{model}' has no version {version}; see airserve models show {model}")
        info = found[0]
    stored = catalog.store.open(info.address)
    if stored.encrypted:
        raise InvalidInputError(
            f"'{model}' is encrypted in the store, and variants would lie beside it in plaintext; optimise its package "
            "before you publish it"
        )
    with stored.folder() as folder:
        yield Given(folder.path, info.manifest, info.address, tuple(stored.digests), info.version)
