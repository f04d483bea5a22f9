"""What every tracked file keeps to: no addresses, no machine's paths, a size that fits a reader."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("clients/python/pilothouse/v1/", "clients/python/pilothouse/_vendor/", "web/src/gen/")
VENDORED = ("protos/buf/", "protos/google/")
PINS = ("constraints.txt", "requirements-dev.txt", "web/.npmrc")
LONGEST_FILE = 500
LONGEST_FUNCTION = 60

REGISTRY = re.compile(r"\b(?:npmjs|pythonhosted|pypi|crates)\.(?:org|com|io)\b|\bproxy\.golang\.")
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:root|work|Users|home/[a-z]\w*)/[\w.]")


def _tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def _ours(*patterns: str) -> list[Path]:
    foreign = (*GENERATED, *VENDORED)
    return [
        path for path in _tracked(*patterns) if not str(path.relative_to(ROOT)).startswith(foreign)
    ]


def _lines(paths: list[Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{number}", line


@pytest.fixture(scope="module", autouse=True)
def _in_a_checkout() -> None:
    assert (ROOT / ".git").exists(), "these tests read the list of tracked files from git"


def test_no_tracked_file_names_a_package_registry() -> None:
    assert [place for place, line in _lines(_tracked()) if REGISTRY.search(line)] == []


def test_no_tracked_file_names_a_folder_of_one_machine() -> None:
    assert [place for place, line in _lines(_ours()) if MACHINE_PATH.search(line)] == []


def test_pins_name_versions_and_never_addresses() -> None:
    assert [
        place for place, line in _lines(_tracked(*PINS)) if "://" in line or " @ " in line
    ] == []
    lock = (ROOT / "web" / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in lock


def test_every_distribution_is_pinned_exactly() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line]
    loose = [line for line in pins if not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)]
    assert loose == []


def test_everything_that_is_installed_is_pinned_at_its_version() -> None:
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    )
    installed = {each.name.lower().replace("_", "-"): each.version for each in distributions()}
    ours = {"pip", "setuptools", "pilothouse", "pilothouse-server"}
    astray = {name: version for name, version in installed.items() if pins.get(name) != version}
    assert {name: version for name, version in astray.items() if name not in ours} == {}


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    sources = _ours("*.py", "web/src/*.ts", "web/src/*.tsx", "web/src/*.css")
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in sources}
    assert [str(path) for path, length in lengths.items() if length > LONGEST_FILE] == []


def test_every_function_fits_on_a_screen() -> None:
    long: list[str] = []
    for path in _ours("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    long.append(
                        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {length} lines"
                    )
    assert long == []


def test_the_domain_never_asks_what_time_it_is() -> None:
    asked = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in _tracked("server/pilothouse_server/domain/*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
    ]
    assert asked == []


def test_every_python_module_says_what_it_decides() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in _ours("*.py")
        if ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]
    assert silent == []
