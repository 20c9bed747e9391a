"""Fuzzing: every decoder of bytes from outside, under bytes that nobody thought of."""
