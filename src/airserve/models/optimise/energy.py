"""What the processor used, where the machine tells it: the RAPL counters of Linux.

They are of the whole package with all that runs there, so the figure is right on a machine that does nothing else.
Often only root may read them, and virtual machines have none. Source: Linux, Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Millijoules since it was made; None where nobody tells."""

    def __init__(self, root: Path = POWERCAP) -> None:
        # Packages alone: core, uncore and memory controller are zones below them (intel-rapl:0:1).
        self._zones = [each for each in sorted(root.glob("intel-rapl:*")) if each.name.count(":") == 1]
        self._start = [_read(zone / "energy_uj") for zone in self._zones]

    def millijoules(self) -> float | None:
        """All packages together; a counter that began anew at its end counts on."""
        total = 0
        for zone, start in zip(self._zones, self._start, strict=True):
            now, most = _read(zone / "energy_uj"), _read(zone / "max_energy_range_uj")
            if start is None or now is None:
                return None
            total += now - start if now >= start else now - start + (most or 0)
        return total / 1000 if self._zones else None


def _read(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
