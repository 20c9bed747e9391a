"""What a package can tell its engine and its steps: sections of the manifest, as plain data.

A section that is absent from the manifest is None. Nothing here imports a runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from airserve.core.tensor import Signature


class Vision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`[vision]`: encoded pictures in, labels with probabilities out.

    A picture is decoded, turned as its EXIF orientation says, converted to RGB, scaled so that its shorter side is
    `resize` pixels, cropped to the central `size` × `size`, and normalised: (x − mean) / std per channel, x from 0 to
    255. `layout` is the order of the model's axes. More than `max_pixels` are refused before decoding.
    """

    size: int
    resize: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    top_k: int = 5
    max_pixels: int = 50_000_000
    logits: bool = True


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`[text]`: strings in, one embedding each out. `tokenizer` is a file of the package (Hugging Face tokenizers).

    A text of more than `max_tokens` tokens is cut there.
    """

    tokenizer: str = "tokenizer.json"
    max_tokens: int = 256


class Language(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`[language]`: a text decoder. `slots` generations run at once, each with `context` tokens for prompt and answer.

    `chat_template` (Jinja) replaces the model's own.
    """

    context: int = 4096
    slots: int = 4
    chat_template: str | None = None


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`[upstream]`: another server that speaks OpenAI's API, under `url` (which ends in /v1), where it is `model`.

    Its key is in the environment variable `key_variable` of the serving process, never in the package. Times in ms.
    """

    url: str
    model: str
    key_variable: str | None = None
    connect_timeout_ms: int = 5_000
    silence_timeout_ms: int = 60_000
    retries: int = 2
    slots: int = 64


class Python(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`[python]`: your own class `attribute` in the package's file, in a process of its own.

    `environment` is all that the process sees beside PATH; a value `$NAME` is taken from the serving process.
    `memory_mb` bounds its address space (MiB). A batch that takes longer than `timeout_ms` counts as hung, and so does
    a start that takes longer than `load_timeout_ms`. `workers` processes run as many batches at once.
    """

    attribute: str = "Model"
    environment: dict[str, str] = {}
    memory_mb: int | None = None
    timeout_ms: int = 30_000
    load_timeout_ms: int = 120_000
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Source:
    """All that loading a model needs: the package's folder, the weights file in it, and what the manifest says.

    `model` is the model's name, for logs.
    """

    folder: Path
    file: str
    signature: Signature
    labels: tuple[str, ...] = ()
    vision: Vision | None = None
    text: Text | None = None
    language: Language | None = None
    upstream: Upstream | None = None
    python: Python | None = None
    model: str = ""

    @property
    def path(self) -> Path:
        """Where the weights lie."""
        return self.folder / self.file
