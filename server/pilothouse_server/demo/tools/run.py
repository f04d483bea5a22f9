"""The entrance of every tool: `python -I -S run.py TOOL ARGUMENT…`.

Its standard input is a pipe that the engine holds open and never writes to. When the engine dies, however it dies, the
pipe closes and the tool takes its whole process group with it, so that no work goes on unseen.
"""

from __future__ import annotations

import _thread
import importlib
import os
import signal
import sys

HERE = os.path.abspath(__file__)
ROOT = HERE.rsplit(os.sep, 4)[0]


def _die_with_the_engine() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Run the named tool; its exit status."""
    _thread.start_new_thread(_die_with_the_engine, ())
    sys.path.insert(0, ROOT)
    tool = importlib.import_module(f"pilothouse_server.demo.tools.{sys.argv[1]}")
    # What the tool judges must not find packages that only we have.
    sys.path.remove(ROOT)
    # A repaired file can have the size and the second of the broken one; its stale bytecode would be taken for it.
    sys.dont_write_bytecode = True
    status: int = tool.main(sys.argv[2:])
    return status


if __name__ == "__main__":
    sys.exit(main())
