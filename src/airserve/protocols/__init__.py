"""Bytes <-> calls and replies: each protocol is a set of pure functions that any front can use."""
