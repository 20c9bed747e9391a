"""A package that points at another OpenAI-compatible server; it holds a manifest and nothing else."""

from __future__ import annotations

from pathlib import Path

from airserve.core.errors import BadPackageError
from airserve.engines.options import Upstream
from airserve.models.gguf_import import DEFAULT_DEADLINE_MS
from airserve.models.importers.imported import Imported
from airserve.models.manifest import Manifest, Tensor
from airserve.models.package import write_package


def import_upstream(upstream: Upstream, folder: Path, *, name: str) -> Imported:
    """Make a package in `folder` that forwards to `upstream`, which is not asked for anything yet."""
    if not upstream.url.rstrip("/").endswith("/v1"):
        raise BadPackageError(f"{upstream.url} does not end in /v1, as the addresses of OpenAI-compatible servers do")
    manifest = Manifest(
        name=name,
        engine="openai",
        inputs=(Tensor("text_input", "BYTES", (1,)),),
        outputs=(Tensor("text_output", "BYTES", (1,)),),
        default_deadline_ms=DEFAULT_DEADLINE_MS,
        upstream=upstream,
        description=f"{upstream.model} on another server",
    )
    write_package(folder, manifest, {})
    return Imported("OpenAI-compatible server", folder, manifest)
