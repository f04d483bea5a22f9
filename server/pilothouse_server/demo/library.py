"""What the engines beside the demo's work on: Python's own standard library, which is wherever the demo is."""

from __future__ import annotations

import ast
import threading
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("asyncio", "email", "http", "importlib", "json", "logging", "unittest", "xml.etree")


def modules_of(package: str) -> dict[str, Path]:
    """The modules of a package that are written in Python, by their full names; none of a module that is no package."""
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    paths = sorted(path for place in places for path in Path(place).glob("*.py"))
    return {_name(package, path.stem): path for path in paths}


def _name(package: str, stem: str) -> str:
    return package if stem == "__init__" else f"{package}.{stem}"


class Parser:
    """Parses modules in whatever thread, one at a time: Python 3.11 takes two at once for one that went too deep."""

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def parse(self, source: str) -> ast.Module:
        """Raises SyntaxError."""
        with self._turn:
            return ast.parse(source)
