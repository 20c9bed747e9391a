"""Variants of a model that are smaller or faster, and what each costs and is worth; begin with `optimisation`."""
