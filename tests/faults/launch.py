"""`pilothouse-server`, with a wall clock that can be put: `python -m tests.faults.launch OFFSET_FILE COMMAND…`.

The file holds eight bytes: by how many nanoseconds the wall clock is ahead, read at each look at it. The monotonic
clock is the machine's own, as on a machine whose wall clock is put.
"""

from __future__ import annotations

import mmap
import sys
import time
from pathlib import Path

OFFSET = slice(0, 8)


def put(file: Path, nanoseconds: int) -> None:
    """Puts the wall clock of whoever was launched with this file."""
    if not file.exists():
        file.write_bytes(bytes(8))
    with file.open("r+b") as opened:
        opened.write(nanoseconds.to_bytes(8, sys.byteorder, signed=True))


def main() -> None:
    """Runs the server's command line behind another clock."""
    with Path(sys.argv.pop(1)).open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), 8, access=mmap.ACCESS_READ)
    true_ns, true = time.time_ns, time.time

    def ahead_ns() -> int:
        return int.from_bytes(offset[OFFSET], sys.byteorder, signed=True)

    # Before anything of the server is imported, since it takes the clock's functions when it is.
    time.time_ns = lambda: true_ns() + ahead_ns()
    time.time = lambda: true() + ahead_ns() / 1e9
    from pilothouse_server.__main__ import main as serve  # noqa: PLC0415

    serve()


if __name__ == "__main__":
    main()
