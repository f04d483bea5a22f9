"""Every measurement, one after another, each in a process of its own: `make bench`.

`--quick` makes each short: to see that they run, not for figures.
"""

from __future__ import annotations

import subprocess
import sys

COMMANDS: list[tuple[str, list[str]]] = [
    ("bench.fold", []),
    ("bench.latency", ["--seconds", "5", "--rates", "100,1000"]),
    ("bench.reads", ["--seconds", "5"]),
    ("bench.broadcast", ["--seconds", "21"]),
    ("bench.ws_fanout", ["--clients", "500", "--rounds", "3", "--interval", "1"]),
]
"""The module, and what makes it quick."""


def main() -> None:
    """The command. Ends with the first failure."""
    quick = "--quick" in sys.argv[1:]
    for module, arguments in COMMANDS:
        print(f"\n$ python -m {module}", flush=True)
        subprocess.run([sys.executable, "-m", module, *(arguments if quick else [])], check=True)


if __name__ == "__main__":
    main()
