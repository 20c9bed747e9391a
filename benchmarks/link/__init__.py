"""Clients of the models over emulated links: `python -m benchmarks link --help`."""
