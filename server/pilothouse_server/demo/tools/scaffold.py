"""Scaffolding: write the sources and tests of a small Python package from templates.

A part may have a defect: a change of the template's text that makes the code really wrong. Nothing later knows of it
but by finding it.
"""

from __future__ import annotations

import os
import re
from string import Template

from pilothouse_server.demo.tools import catalogue
from pilothouse_server.demo.tools.report import Project, done, load_project

TEMPLATES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "templates")


def main(arguments: list[str]) -> int:
    """FOLDER PART: the frame of the package, or one module with its tests."""
    folder, part = arguments
    project = load_project(folder)
    written = (
        write_frame(folder, project) if part == "frame" else write_module(folder, project, part)
    )
    return done(f"wrote {len(written)} files, {sum(written.values())} lines", files=list(written))


def write_frame(folder: str, project: Project) -> dict[str, int]:
    """pyproject, entry points and the HTTP service; lines by file."""
    package = project["package"]
    names = sorted(module["name"] for module in project["modules"])
    words = {
        "package": package,
        "version": project["version"],
        "title": project["title"],
        "imports": "\n".join(f"from {package} import {name}" for name in names),
        "modules": ", ".join(names),
    }
    files = {
        "pyproject.toml": "pyproject.toml",
        "src/__main__.py": "start.py",
        f"src/{package}/__init__.py": "package.py",
        f"src/{package}/main.py": "main.py",
        f"src/{package}/service.py": "service.py",
    }
    texts = {path: _render(template, words) for path, template in files.items()}
    for part in ("main", "service"):
        path = f"src/{package}/{part}.py"
        texts[path] = damage(texts[path], part, project["service"]["defect"])
    texts["tests/__init__.py"] = f'"""Tests of {package}."""\n'
    return _write(folder, texts)


def write_module(folder: str, project: Project, name: str) -> dict[str, int]:
    """One module and its tests; lines by file."""
    module = next(module for module in project["modules"] if module["name"] == name)
    words = {
        "package": project["package"],
        "rounds": str(module["rounds"]),
        "pace": str(module["pace"]),
    }
    source = f"src/{project['package']}/{name}.py"
    tests = f"tests/test_{name}.py"
    defect = module["defect"]
    return _write(
        folder,
        {
            source: damage(_render(f"modules/{name}.py", words), name, defect),
            tests: damage(_render(f"tests/test_{name}.py", words), f"test_{name}", defect),
        },
    )


def damage(text: str, part: str, defect: str) -> str:
    """`text` with the defect, where it is one of this part."""
    of_any = "" if part in (*catalogue.PURE, *catalogue.TIMED) else part
    change = catalogue.DEFECTS.get((part, defect)) or catalogue.DEFECTS.get((of_any, defect))
    if change is None:
        return text
    damaged, count = re.subn(change[0], change[1], text, count=1, flags=re.MULTILINE)
    if not count:
        raise LookupError(f"{part} has no place for {defect}")
    return damaged


def _render(template: str, words: dict[str, str]) -> str:
    with open(f"{TEMPLATES}/{template}.tmpl", encoding="utf-8") as file:
        return Template(file.read()).substitute(words)


def _write(folder: str, texts: dict[str, str]) -> dict[str, int]:
    for path, text in texts.items():
        os.makedirs(os.path.dirname(f"{folder}/{path}"), exist_ok=True)
        with open(f"{folder}/{path}", "w", encoding="utf-8") as file:
            file.write(text)
    return {path: text.count("\n") for path, text in texts.items()}
