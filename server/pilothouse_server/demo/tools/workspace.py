"""Initialization: make a work folder and write down what is to be built in it."""

from __future__ import annotations

import json
import os
import shutil
import sys

from pilothouse_server.demo.tools.report import done, failed, write_atomically


def main(arguments: list[str]) -> int:
    """FOLDER PROJECT-JSON."""
    folder, text = arguments
    project = json.loads(text)
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("src", "tests", "dist"):
        os.makedirs(f"{folder}/{name}")
    free = shutil.disk_usage(folder).free
    if free < 50_000_000:
        return failed("DISK_FULL", f"only {free} bytes are left in {folder}")
    project["python"] = "{}.{}.{}".format(*sys.version_info)
    write_atomically(f"{folder}/project.json", json.dumps(project, indent=2) + "\n")
    return done(f"{project['package']} {project['version']} on Python {project['python']}")
