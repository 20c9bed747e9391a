"""Tests of the experiments over emulated links."""
