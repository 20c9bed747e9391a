"""Tensors <-> bytes, shared by client and server."""
