"""A tool's last words, and the project that it works on."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

Project = dict[str, Any]
"""What `project.json` holds; written once by the first tool, changed only by a repair."""


def done(message: str, **more: object) -> int:
    """The work is done."""
    return _say(0, {"message": message, **more})


def failed(code: str, message: str, files: list[str] | None = None) -> int:
    """The work was judged and found wanting; `files` are those to blame, relative to the project's folder."""
    return _say(1, {"code": code, "message": message, "files": files or []})


def _say(status: int, words: dict[str, object]) -> int:
    # Of this process and of what it started and waited for.
    spent = os.times()
    words["cpu_seconds"] = round(sum(spent[:4]), 3)
    sys.stdout.write("\n" + json.dumps(words) + "\n")
    sys.stdout.flush()
    return status


def load_project(folder: str) -> Project:
    """The project in `folder`."""
    with open(f"{folder}/project.json", encoding="utf-8") as file:
        project: Project = json.load(file)
    return project


def write_atomically(path: str, text: str) -> None:
    """Replace a file by one that is whole, or leave it as it is."""
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(beside, path)


def sources(folder: str) -> list[str]:
    """The Python files of a project, sorted, relative to its folder."""
    found: list[str] = []
    for top in ("src", "tests"):
        for place, _, names in os.walk(f"{folder}/{top}"):
            found += [
                os.path.relpath(f"{place}/{name}", folder) for name in names if name.endswith(".py")
            ]
    return sorted(found)
