"""Servers by name, in a file: `~/.config/pilothouse/config.yaml`, or where PILOTHOUSE_CONFIG says.

    current: production
    contexts:
      production: {server: "pilot.example.org:50051", tls: true}

What is on the command line comes first, then PILOTHOUSE_SERVER, then the context in use, then the server on this
machine.
"""

# What click calls has the arguments of click.
# ruff: noqa: ARG001

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

DEFAULT_SERVER = "127.0.0.1:50051"


@dataclass(frozen=True)
class Context:
    """One server and how to reach it."""

    server: str = DEFAULT_SERVER
    """Host and port of its gRPC."""
    tls: bool = False
    """Whether the connection is encrypted."""
    ca_file: str = ""
    """PEM file of the authorities that may vouch for it; empty: the machine's own."""


def config_path() -> Path:
    """Where the file is."""
    if named := os.environ.get("PILOTHOUSE_CONFIG"):
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "pilothouse" / "config.yaml"


@dataclass
class Config:
    """The file as it is."""

    current: str
    contexts: dict[str, Context]

    @classmethod
    def read(cls) -> Config:
        """The file, or nothing where there is none. Raises click.ClickException for one that is not understood."""
        path = config_path()
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            return cls("", {})
        except OSError as error:
            raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
        import yaml  # noqa: PLC0415 - most calls have no file

        try:
            found: dict[str, Any] = yaml.safe_load(text) or {}
            named: dict[str, dict[str, Any]] = found.get("contexts") or {}
            contexts = {str(name): Context(**fields) for name, fields in named.items()}
            return cls(str(found.get("current") or ""), contexts)
        except (yaml.YAMLError, AttributeError, TypeError) as error:
            raise click.ClickException(
                f"{path} is not a configuration of pilothouse: {error}"
            ) from None

    def write(self) -> None:
        """Replace the file, whole or not at all."""
        import yaml  # noqa: PLC0415

        path = config_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        contexts: dict[str, Mapping[str, Any]] = {
            name: {key: value for key, value in vars(context).items() if value}
            for name, context in self.contexts.items()
        }
        text = yaml.safe_dump({"current": self.current, "contexts": contexts}, sort_keys=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(text, "utf-8")
        fresh.replace(path)

    def named(self, name: str) -> Context:
        """The context of this name. Raises click.ClickException."""
        if name not in self.contexts:
            known = ", ".join(sorted(self.contexts)) or "none yet"
            raise click.ClickException(f"there is no context {name!r}; there are: {known}")
        return self.contexts[name]


def resolve(name: str | None) -> Context:
    """The context to use when no server is named on the command line."""
    if name:
        return Config.read().named(name)
    server = os.environ.get("PILOTHOUSE_SERVER")
    if server:
        return Context(server)
    config = Config.read()
    return config.named(config.current) if config.current else Context()


@click.group("context")
def context_group() -> None:
    """Servers by name, and which one is used."""


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in Config.read().contexts if name.startswith(incomplete)]


@context_group.command("list")
def list_contexts() -> None:
    """Lists the contexts; the one in use has a star."""
    config = Config.read()
    for name, context in sorted(config.contexts.items()):
        star = "*" if name == config.current else " "
        click.echo(f"{star} {name}  {context.server}{'  tls' if context.tls else ''}")


@context_group.command("use")
@click.argument("name", shell_complete=_names)
def use_context(name: str) -> None:
    """Uses a context from now on."""
    config = Config.read()
    config.named(name)
    config.current = name
    config.write()


@context_group.command("set")
@click.argument("name", shell_complete=_names)
@click.option("--server", required=True, help="Host and port of its gRPC.")
@click.option("--tls/--no-tls", default=False, help="Whether the connection is encrypted.")
@click.option("--ca-file", default="", help="PEM file of the authorities that may vouch for it.")
def set_context(name: str, server: str, ca_file: str, *, tls: bool) -> None:
    """Makes or changes a context. The first one is used at once."""
    config = Config.read()
    config.contexts[name] = Context(server, tls, ca_file)
    config.current = config.current or name
    config.write()


@context_group.command("delete")
@click.argument("name", shell_complete=_names)
def delete_context(name: str) -> None:
    """Forgets a context."""
    config = Config.read()
    config.named(name)
    del config.contexts[name]
    config.current = "" if config.current == name else config.current
    config.write()


def as_group() -> click.Group:
    """The group of these commands."""
    return context_group
