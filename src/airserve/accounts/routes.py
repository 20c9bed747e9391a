"""The operations that a key may be confined to, the same over every protocol."""

from __future__ import annotations

from typing import Literal, get_args

Route = Literal["infer", "chat", "completions", "embeddings", "generate", "read"]
"""`infer` calls tensors, pictures and rows, `generate` text over the Open Inference Protocol; `read` is metadata."""

ROUTES: tuple[Route, ...] = get_args(Route)
