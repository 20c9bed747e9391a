"""Runtimes, one file each: a runtime runs a loaded model, nothing more."""

from airserve.engines.base import Model, load_model

__all__ = ["Model", "load_model"]
