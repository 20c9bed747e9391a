"""`airserve publish`: put a package, or a bare file of a model, into the catalog."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer

from airserve.cli.output import AsJson, console, print_json
from airserve.cli.publish_baseline import with_baseline
from airserve.cli.publish_link import link_options, with_link
from airserve.cli.publish_variants import with_variants
from airserve.cli.state import StateDir, open_catalog
from airserve.core.errors import InvalidInputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from airserve.engines.options import Sealed

Section = TypeVar("Section", bound=msgspec.Struct)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("publish")(publish)


def publish(
    path: Annotated[Path, typer.Argument(help="A package folder, its .tar.zst, or a bare .onnx, .gguf or .py.")],
    state_dir: StateDir,
    name: Annotated[str | None, typer.Option(help="Publish under this name.")] = None,
    alias: Annotated[str, typer.Option(help="Point this alias at the new version.")] = "prod",
    no_alias: Annotated[bool, typer.Option("--no-alias", help="Publish without moving any alias.")] = False,
    max_batch: Annotated[int | None, typer.Option(min=0, help="Most rows of one run; 1 turns batching off.")] = None,
    default_deadline_ms: Annotated[int | None, typer.Option(min=1, help="For calls without a deadline.")] = None,
    vision: Annotated[Path | None, typer.Option(help="model.onnx takes pictures: its [vision] section, TOML.")] = None,
    labels: Annotated[Path | None, typer.Option(help="With --vision: the classes, one a line, in order.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="model.onnx takes tokens: the tokenizer.json.")] = None,
    max_tokens: Annotated[int, typer.Option(min=3, help="With --tokenizer: longer texts are cut.")] = 256,
    context: Annotated[int | None, typer.Option(min=16, help="model.gguf: tokens of one prompt and answer.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="model.gguf: answers generated at once.")] = None,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="In a process of its own, with a key that clients can seal calls to.")
    ] = False,
    sign: Annotated[
        Path | None, typer.Option(help="Sign what is published with this private key; see airserve signing-key.")
    ] = None,
    codecs: Annotated[
        str | None, typer.Option(help="Codecs to measure on --data and list: 'auto', or int8c+zstd,fp16,webp:60 …")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The sample: a folder of pictures, .npy, .npz by input, .txt of one text a line."),
    ] = None,
    min_accuracy: Annotated[float, typer.Option(min=0, max=1, help="Codecs below it are not listed.")] = 0.98,
    device: Annotated[
        str | None, typer.Option(help="Weights that devices may fetch and run: an .onnx file, or 'same'.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same inputs always give the same outputs.")
    ] = False,
    serve: Annotated[
        str | None, typer.Option(help="Variants that answer, such as original,int8: a smaller one where time is short.")
    ] = None,
    floor: Annotated[float | None, typer.Option(help="No variant that is served is less accurate than this.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="A sample of the training data, as --data, for drift to be told by.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish a model; a running service loads it, switches without a failed call, and unloads the old one.

    Versions are 1, 2, 3 …; the same content again is the version that it was.
    Example: `airserve publish digits/` or `airserve publish model.onnx --name scorer --alias canary` or
    `airserve publish model.onnx --vision vision.toml --labels labels.txt --name cats` or
    `airserve publish model.gguf --name gemma --context 8192 --slots 8` or
    `airserve publish digits/ --codecs auto --data sample.npy --device small.onnx` or
    `airserve publish digits/ --serve original,int8 --floor 0.98` or
    `airserve publish digits/ --baseline training.npy`
    """
    options = link_options(codecs, data, min_accuracy, device, deterministic=deterministic)
    changes = {"name": name, "max_batch": max_batch, "default_deadline_ms": default_deadline_ms}
    with (
        _with_step(path, vision, labels, tokenizer, max_tokens) as stepped,
        _with_language(stepped, context, slots) as spoken,
        open_catalog(state_dir) as catalog,
        with_link(spoken, catalog, options, {**changes, "sealed": _sealed(sealed)}, quiet=as_json) as linked,
        with_variants(linked, catalog, serve, floor) as chosen,
        with_baseline(chosen, catalog, baseline, {**changes, "sealed": _sealed(sealed)}) as source,
    ):
        published = catalog.publish(
            source,
            name=name,
            alias=None if no_alias else alias,
            max_batch=max_batch,
            default_deadline_ms=default_deadline_ms,
            sealed=_sealed(sealed),
            sign_with=None if sign is None else _signing_key(sign),
        )
    if as_json:
        print_json(asdict(published))
        return
    pointing = f", '{published.alias}' points at it" if published.alias else ""
    console.print(
        f"published [bold]{published.model}[/] version {published.version}{pointing}  sha256:{published.address[:12]}",
        highlight=False,
    )


def _signing_key(file: Path) -> Ed25519PrivateKey:
    from airserve.models.signature import read_private_key

    return read_private_key(file)


def _sealed(wanted: bool) -> Sealed | None:
    from airserve.engines.options import Sealed

    return Sealed() if wanted else None


@contextmanager
def _with_step(
    path: Path, vision: Path | None, labels: Path | None, tokenizer: Path | None, max_tokens: int
) -> Iterator[Path]:
    """What to publish: `path` itself, or a package made of it with the step that was asked for."""
    if vision is None and tokenizer is None:
        if labels is not None:
            raise InvalidInputError("--labels belongs to --vision")
        yield path
        return
    from airserve.engines.options import Text, Vision
    from airserve.models.names import name_of
    from airserve.models.text_package import package_text
    from airserve.models.vision_package import package_vision

    if vision is not None and tokenizer is not None:
        raise InvalidInputError("a model takes pictures (--vision) or texts (--tokenizer), not both")
    with tempfile.TemporaryDirectory(prefix="airserve-publish-") as scratch:
        folder = Path(scratch) / "package"
        if vision is not None:
            names = _read(labels).splitlines() if labels is not None else []
            yield package_vision(path, folder, name=name_of(path), labels=names, vision=_section(vision, Vision))
        elif tokenizer is not None:
            yield package_text(path, tokenizer, folder, name=name_of(path), text=Text(max_tokens=max_tokens))


@contextmanager
def _with_language(path: Path, context: int | None, slots: int | None) -> Iterator[Path]:
    """What to publish: `path` itself, or a package made of a GGUF file with the room that was asked for."""
    if context is None and slots is None:
        yield path
        return
    if path.suffix != ".gguf":
        raise InvalidInputError("--context and --slots belong to a language model: a .gguf file")
    from airserve.models.gguf_import import package_gguf
    from airserve.models.names import name_of

    with tempfile.TemporaryDirectory(prefix="airserve-publish-") as scratch:
        yield package_gguf(path, Path(scratch) / "package", name=name_of(path), context=context, slots=slots)


def _section(file: Path, kind: type[Section]) -> Section:
    """The section in a TOML file, with or without its heading."""
    heading = kind.__name__.lower()
    try:
        document = msgspec.toml.decode(_read(file).encode())
        return msgspec.convert(document.get(heading, document), kind)
    except msgspec.MsgspecError as error:
        raise InvalidInputError(f"{file} is no [{heading}] section: {error}") from None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file} cannot be read: {error}") from None
