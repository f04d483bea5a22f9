"""The Makefile's own promises: it explains itself, and says what to do where there is no Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_make_alone_lists_every_target_meant_for_people() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for target in ("help", "demo", "test", "check", "gen", "bench"):
        assert re.search(rf"^ +make {target} +\S", listed, re.MULTILINE), listed


def test_without_a_python_make_says_what_to_install(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "make", "find", "test", "touch"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    checkout = tmp_path / "checkout"
    for name in (
        "Makefile",
        "constraints.txt",
        "clients/python/pyproject.toml",
        "server/pyproject.toml",
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    answer = subprocess.run(
        ["make", ".venv/.run"],
        cwd=checkout,
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "PATH": str(tools), "MAKEFLAGS": ""},
    )
    assert answer.returncode != 0
    assert "needs Python 3.11 or newer" in answer.stderr
    assert "make PYTHON=" in answer.stderr
