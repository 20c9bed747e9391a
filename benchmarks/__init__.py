"""Benchmarks: `python -m benchmarks [name …]`; each is a module with `main()`, its results go to `results/`."""
