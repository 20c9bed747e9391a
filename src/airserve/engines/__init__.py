"""Runtimes, one file each: a runtime runs a loaded model, nothing more."""

from airserve.engines.base import ENGINES, Generator, Model, generates, load_generator, load_model
from airserve.engines.options import Source

__all__ = ["ENGINES", "Generator", "Model", "Source", "generates", "load_generator", "load_model"]
