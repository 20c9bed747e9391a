"""The `airserve` command: one file per noun."""

from airserve.cli.app import main

__all__ = ["main"]
