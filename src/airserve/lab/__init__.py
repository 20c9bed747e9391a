"""Emulated links, traces and experiments over them; its room, still empty."""
