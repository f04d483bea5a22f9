"""Repair: write anew the parts of a project that a failed stage blamed, this time without their defects."""

from __future__ import annotations

import json
import os

from pilothouse_server.demo.tools.report import done, load_project, write_atomically
from pilothouse_server.demo.tools.scaffold import write_frame, write_module


def main(arguments: list[str]) -> int:
    """FOLDER FILE…: what was blamed, relative to the folder."""
    folder, *files = arguments
    project = load_project(folder)
    blamed = {os.path.basename(file).removesuffix(".py").removeprefix("test_") for file in files}
    modules = [module for module in project["modules"] if module["name"] in blamed]
    for module in modules:
        module["defect"] = ""
    frame = bool(blamed & {"service", "main", "__init__", "__main__"})
    if frame:
        project["service"]["defect"] = ""
    write_atomically(f"{folder}/project.json", json.dumps(project, indent=2) + "\n")
    names = [module["name"] for module in modules]
    for name in names:
        write_module(folder, project, name)
    if frame:
        write_frame(folder, project)
        names.append("service")
    return done(f"rewrote {', '.join(names)}" if names else "nothing to rewrite")
