"""What the command line of the experiments means."""

from __future__ import annotations

from benchmarks.link.command import LINKS, links


def test_a_constant_link_keeps_its_commas() -> None:
    assert links("lte,rate=20,rtt=40,wifi") == ["lte", "rate=20,rtt=40", "wifi"]


def test_all_links_of_5g_have_a_name() -> None:
    assert links("5g") == list(LINKS)
    assert all(name.startswith("5g-") for name in LINKS)
