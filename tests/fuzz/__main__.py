"""`python -m tests.fuzz [TARGET …] --seconds N`: fuzz decoders, guided by coverage where `atheris` is installed.

What breaks a target is written to `.cache/fuzz/TARGET/`, and so is what led to new code, for the next time.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

CACHE = Path(".cache/fuzz")
_GUIDED = """
import sys, atheris
with atheris.instrument_imports(include=["airserve"]):
    from tests.fuzz.targets import TARGETS
atheris.Setup(sys.argv[:1] + sys.argv[2:], TARGETS[sys.argv[1]])
atheris.Fuzz()
"""


def main() -> int:
    """Fuzz what the command line names, one after another; 1 where any broke."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(TARGETS)}; all without one")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"there is no target '{min(unknown)}'; choose from {', '.join(TARGETS)}")
    guided = importlib.util.find_spec("atheris") is not None
    if not guided:
        print("atheris is not installed, so no coverage guides this; pip install atheris", file=sys.stderr)
    broken = [
        name for name in asked.targets or TARGETS if not (_guided if guided else _blind)(name, asked.seconds)
    ]  # fmt: skip
    if broken:
        print(f"broken: {', '.join(broken)}; what broke them is in {CACHE}", file=sys.stderr)
    return 1 if broken else 0


def _guided(name: str, seconds: int) -> bool:
    """Whether the target held out. libFuzzer ends the process that it runs in, so each has one of its own."""
    from tests.fuzz.seeds import SEEDS

    corpus = CACHE / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=10", "-max_len=8192", "-verbosity=0"]
    command = [sys.executable, "-c", _GUIDED, name, *limits, "-print_final_stats=1"]
    done = subprocess.run(
        [*command, f"-artifact_prefix={CACHE / name}/", str(corpus)], capture_output=True, text=True, check=False
    )
    runs = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    print(f"{name:20} {runs[-1] if runs else '?':>9} inputs  {'held' if done.returncode == 0 else 'BROKE'}", flush=True)
    if done.returncode:
        print(done.stderr[-4000:], file=sys.stderr)
    return done.returncode == 0


def _blind(name: str, seconds: int) -> bool:
    """Whether the target held out against mutations of its seeds."""
    from tests.fuzz.mutations import mutations
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import TARGETS

    end, inputs, start = time.monotonic() + seconds, 0, int(time.time())
    while time.monotonic() < end:
        for data in mutations(SEEDS[name], 1000, start + inputs):
            inputs += 1
            try:
                TARGETS[name](data)
            except Exception as error:
                (CACHE / name).mkdir(parents=True, exist_ok=True)
                (CACHE / name / "broken").write_bytes(data)
                print(f"{name:20} {inputs:>9} inputs  BROKE: {error!r}", flush=True)
                return False
    print(f"{name:20} {inputs:>9} inputs  held", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
