"""A server that ends with the process that started it, whatever kills that one."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

PR_SET_PDEATHSIG = 1
NOBODY = "nobody"
ROOT = Path("/")
"""A folder that anybody can be in."""


def run_as() -> str | None:
    """Whom servers run as that refuse to run as root; None is ourselves."""
    return NOBODY if os.geteuid() == 0 else None


def give(path: Path) -> None:
    """Makes a directory the property of whoever runs the servers."""
    if (user := run_as()) is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def installed(package: str) -> Path:
    """The folder of a package of which only the files are wanted: importing it would do things."""
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def spawn(
    command: Sequence[str | Path],
    log: Path,
    *,
    user: str | None = None,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts the command, its output appended to `log`; `environment` is added to ours."""
    identity = pwd.getpwnam(user) if user else None
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - it runs two system calls and no Python of anybody else
            user=identity.pw_uid if identity else None,
            group=identity.pw_gid if identity else None,
            extra_groups=[] if identity else None,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
        )


def end(process: subprocess.Popen[bytes], number: signal.Signals, within: float = 30.0) -> None:
    """Sends the signal and waits for the end; one that was stopped is let go on first."""
    if process.poll() is None:
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
    process.wait(within)


def end_with_parent() -> None:
    """Between fork and exec: whatever ends the process that started it, ends it too."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
