"""What a package can tell its engine and its steps: sections of the manifest, as plain data.

A section that is absent from the manifest is None. Nothing here imports a runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from airserve.core.tensor import Signature
from airserve.engines.files import Files, PlainFiles


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


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`[sealed]`: the model runs in a process of its own, which has the key that clients seal calls to.

    A key is given out for `rotate_s` seconds and opens calls for `overlap_s` more. `replay_entries` bounds how many
    calls of the last two minutes are remembered, so that none is taken twice. Names of algorithms as in `cryptography`.
    """

    kem: Literal["MLKEM768_X25519", "X25519"] = "MLKEM768_X25519"
    aead: Literal["AES_128_GCM", "AES_256_GCM", "CHACHA20_POLY1305"] = "AES_256_GCM"
    rotate_s: float = 3600.0
    overlap_s: float = 600.0
    replay_entries: int = 200_000
    timeout_ms: int = 30_000
    load_timeout_ms: int = 120_000


IDENTITY = Path("sealed", "identity.pem")
"""Where a state folder keeps the key that signs the keys of sealed models."""


@dataclass(frozen=True, slots=True)
class SealedSource:
    """What the worker of a `[sealed]` model signs for, with the key in the file `identity`; `package` is a SHA-256."""

    options: Sealed
    version: int
    package: str
    identity: Path


@dataclass(frozen=True, slots=True)
class Source:
    """All that loading a model needs: the package's folder, the weights file in it, and what the manifest says.

    `tail` says that the model is the tail of a split: it takes features, and of the `[vision]` step only the second
    half applies. `model` is the model's name, for logs. Engines read through `contents`, never from `folder`: what is
    in a store is verified, and may be encrypted.
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
    sealed: SealedSource | None = None
    tail: bool = False
    model: str = ""
    files: Files | None = None

    @property
    def contents(self) -> Files:
        """The files of the package; those of the folder where nobody says otherwise."""
        return PlainFiles(self.folder) if self.files is None else self.files
