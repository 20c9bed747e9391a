"""Counters of energy as Linux shows them, in a folder that looks like /sys/class/powercap."""

from __future__ import annotations

from pathlib import Path

from airserve.models.optimise.energy import EnergyMeter


def zone(root: Path, name: str, microjoules: int, most: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder


def test_all_packages_count_and_their_parts_do_not(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", 1000), zone(tmp_path, "intel-rapl:1", 5000)
    zone(tmp_path, "intel-rapl:0:0", 7)
    meter = EnergyMeter(tmp_path)
    (first / "energy_uj").write_text("3000")
    (second / "energy_uj").write_text("5500")
    assert meter.millijoules() == 2.5


def test_a_counter_that_began_anew_counts_on(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", 999_000)
    meter = EnergyMeter(tmp_path)
    (folder / "energy_uj").write_text("1000")
    assert meter.millijoules() == 2.0


def test_a_machine_that_does_not_tell_gives_none(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path / "nothing").millijoules() is None
    folder = zone(tmp_path, "intel-rapl:0", 1)
    meter = EnergyMeter(tmp_path)
    (folder / "energy_uj").unlink()
    assert meter.millijoules() is None
