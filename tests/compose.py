"""What compose.yaml says, for tests that hold it to the program and run its commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

COMPOSE = Path(__file__).resolve().parents[1] / "compose.yaml"


@dataclass(frozen=True)
class Service:
    """One service as it is after the merges of YAML."""

    name: str
    said: dict[str, Any]

    @property
    def command(self) -> list[str]:
        """What follows `pilothouse-server` for a service of ours."""
        return [str(word) for word in self.said["command"]]

    def environment(self, **variables: str) -> dict[str, str]:
        """Its environment, with `${NAME…}` filled in."""
        said: dict[str, str] = self.said.get("environment", {})
        return {name: filled(str(value), variables) for name, value in said.items()}


SECRETS = {
    "REDIS_PASSWORD": "a",
    "POSTGRES_PASSWORD": "b",
    "SECRET_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}
"""What the file wants to be told."""


def filled(text: str, variables: dict[str, str]) -> str:
    """The text with its variables."""
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda match: variables[match[1]], text)


def services() -> list[Service]:
    """All of them."""
    said = cast("dict[str, Any]", yaml.safe_load(COMPOSE.read_text("utf-8")))
    return [Service(name, each) for name, each in said["services"].items()]


OUR_SERVICES = [service for service in services() if "build" in service.said]
