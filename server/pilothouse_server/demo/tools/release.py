"""Deployment, second step: put the application beside the live one, try it, switch over, and back if it is not well."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys

from pilothouse_server.demo.tools.report import done, failed, load_project
from pilothouse_server.demo.tools.serving import ServiceBroken, serving

KEPT = 3
"""Releases of a package that stay, the live one included."""


def main(arguments: list[str]) -> int:
    """FOLDER RELEASES NAME: the project, where releases live, and what this one is called."""
    folder, releases, name = arguments
    project = load_project(folder)
    home = f"{releases}/{project['package']}"
    place = f"{home}/{name}"
    application = f"{project['package']}-{project['version']}.pyz"
    with open(f"{folder}/dist/SHA256SUMS.json", encoding="utf-8") as file:
        expected = json.load(file)[application]
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    shutil.copy2(f"{folder}/dist/{application}", f"{place}/app.pyz")
    with open(f"{place}/app.pyz", "rb") as program:
        found = hashlib.file_digest(program, "sha256").hexdigest()
    if found != expected:
        return failed("CHECKSUM_MISMATCH", f"{application} is {found}, not {expected}")
    answer = _run_once(f"{place}/app.pyz")
    if answer != f"{project['package']} {project['version']}":
        source = f"src/{project['package']}/main.py"
        return failed("SELF_CHECK_FAILED", f"{application} says it is {answer!r}", [source])
    before = _switch(home, name)
    try:
        with serving(f"{home}/current/app.pyz") as client:
            p95 = client.watch_health(project["service"]["canary_seconds"], 0.1)
    except ServiceBroken as error:
        if before:
            _switch(home, before)
        source = f"src/{project['package']}/service.py"
        return failed("CANARY_FAILED", f"{error}; {before or 'nothing'} is live", [source])
    _prune(home)
    return done(f"{name} is live after {before or 'nothing'}, p95 {p95 * 1000:.1f} ms")


def _run_once(program: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-I", "-S", program, "version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return answer.stdout.strip() or answer.stderr.strip()[-400:]


def _switch(home: str, name: str) -> str:
    """Make `name` the live release, in one step; which one was live before."""
    current = f"{home}/current"
    before = os.readlink(current) if os.path.islink(current) else ""
    beside = f"{home}/.{name}.link"
    if os.path.lexists(beside):
        os.unlink(beside)
    os.symlink(name, beside)
    os.replace(beside, current)
    return before


def _prune(home: str) -> None:
    live = os.readlink(f"{home}/current")
    others = [
        entry
        for entry in os.scandir(home)
        if entry.is_dir(follow_symlinks=False) and entry.name != live
    ]
    others.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in others[KEPT - 1 :]:
        shutil.rmtree(entry.path, ignore_errors=True)
