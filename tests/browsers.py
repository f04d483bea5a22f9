"""The Chromium of the machine: for tests, for measurements and for the pictures of the documentation."""

from __future__ import annotations

import shutil
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""A browser that runs as root in a container and calls nobody but the page under test."""
MISSING: Final = (
    f"no browser on PATH ({', '.join(NAMES)}): install one (Debian: apt-get install chromium)"
)


def found() -> str | None:
    """The path of the first that there is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)
