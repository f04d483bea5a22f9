"""Puts the built dashboard into the wheel as `pilothouse_server/dashboard`.

A checkout builds it on the way when `web/dist` is missing. A source distribution carries it already,
so installing from one needs no Node. An editable install carries none: there the server reads `web/dist`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGED = "pilothouse_server/dashboard"


class DashboardHook(BuildHookInterface[Any]):
    """Builds the dashboard when it is missing and includes it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files of a wheel or a source distribution."""
        here = Path(self.root)
        if version == "editable" or (here / PACKAGED).is_dir():
            return
        built = here.parent / "web" / "dist"
        if not (built / "index.html").is_file():
            subprocess.run(
                ["make", "--no-print-directory", "dashboard"], cwd=here.parent, check=True
            )
        build_data["force_include"][str(built)] = PACKAGED
