"""`python -m benchmarks [name …]`: run the named benchmarks, or all of them, one after the other.

Those of `WITH_OPTIONS` run alone, with options of their own: `python -m benchmarks link --help`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback

NAMES = ("overhead", "tensors", "batching", "learning", "families", "hostile", "codecs", "splitting", "variants",
         "optimise", "optimise_language", "rollout")  # fmt: skip
WITH_OPTIONS = {
    "link": "benchmarks.link.command",
    "link-oracle": "benchmarks.link.oracle",
    "link-resumption": "benchmarks.link.resumption",
    "link-transports": "benchmarks.link.transports",
}


def main() -> int:
    """Run what the command line names; the exit code is 1 when any of it failed."""
    if sys.argv[1:] and (module := WITH_OPTIONS.get(sys.argv[1])):
        return int(importlib.import_module(module).main(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(NAMES)}; all when none is given")
    names = parser.parse_args().names or list(NAMES)
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no benchmark '{min(unknown)}'; choose from {', '.join(NAMES)}")
    failed = []
    for name in names:
        started = time.monotonic()
        try:
            importlib.import_module(f"benchmarks.{name}").main()
        except Exception:  # one that fails must not cost the figures of the others
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
