"""What is shipped for running it says nothing that the program does not understand: checked without a container."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from pilothouse_server.__main__ import main
from pilothouse_server.config import Settings, read_settings
from tests.compose import COMPOSE, OUR_SERVICES, SECRETS, Service, services

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "deploy" / "systemd"
UNIT = SYSTEMD / "pilothouse@.service"


def judged(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that these variables make; fails for one that there is not."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PILOTHOUSE_{name.upper()}", raising=False)
    for name, value in environment.items():
        if name.startswith("PILOTHOUSE_"):
            assert name.removeprefix("PILOTHOUSE_").lower() in Settings.model_fields, name
            monkeypatch.setenv(name, value)
    return read_settings()


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@pytest.mark.parametrize("service", OUR_SERVICES, ids=lambda service: service.name)
def test_compose_runs_commands_and_sets_variables_that_there_are(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = judged(service.environment(**SECRETS), monkeypatch)

    assert service.command[0] in main.commands
    assert len(service.command) == 1
    assert settings.host == "0.0.0.0"
    assert seconds(service.said["stop_grace_period"]) > settings.drain_grace


@pytest.mark.parametrize("service", OUR_SERVICES, ids=lambda service: service.name)
def test_containers_have_no_rights_that_they_do_not_need(service: Service) -> None:
    assert not service.said["user"].startswith(("0", "root"))
    assert service.said["read_only"] is True
    assert service.said["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service.said["security_opt"]


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in services() for port in service.said.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_what_a_service_waits_for_is_there_and_tells_its_health() -> None:
    known = {service.name: service for service in services()}
    for service in known.values():
        for name, wanted in service.said.get("depends_on", {}).items():
            assert wanted == {"condition": "service_healthy"}
            assert "healthcheck" in known[name].said


@pytest.mark.parametrize("service", OUR_SERVICES, ids=lambda service: service.name)
def test_health_is_asked_where_the_service_answers(service: Service) -> None:
    kind, program, option, text = service.said["healthcheck"]["test"]
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)'", text)
    environment = service.environment(**SECRETS)
    port = environment.get("PILOTHOUSE_METRICS_PORT") or environment["PILOTHOUSE_HTTP_PORT"]

    assert (kind, program, option) == ("CMD", "python", "-c")
    assert found is not None
    assert found.groups() == (port, "/readyz")
    compile(text, "healthcheck", "exec")


def test_the_passwords_are_nobodys_until_somebody_sets_them() -> None:
    text = COMPOSE.read_text("utf-8")
    assert set(re.findall(r"\$\{(\w+):\?", text)) == set(SECRETS)


def instructions() -> list[tuple[str, str]]:
    """What the Dockerfile says, a line each."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_the_image_runs_a_command_that_there_is_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    said = instructions()
    stages = [at for at, (word, _) in enumerate(said) if word == "FROM"]
    last = dict(said[stages[-1] :])
    environment = dict(word.split("=", 1) for word in shlex.split(last["ENV"]))
    settings = judged(environment, monkeypatch)
    scripts = (ROOT / "server" / "pyproject.toml").read_text("utf-8")

    assert len(stages) == 2
    assert last["USER"].split(":")[0].isdecimal()
    assert int(last["USER"].split(":")[0]) > 0
    assert json.loads(last["CMD"])[0] in main.commands
    assert f"{json.loads(last['ENTRYPOINT'])[0]} = " in scripts
    assert str(settings.data_dir) == last["VOLUME"]
    assert last["STOPSIGNAL"] == "SIGTERM"


def test_the_image_is_built_from_what_it_is_given() -> None:
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    given = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    makefile = (ROOT / "Makefile").read_text("utf-8")

    assert ignore[0] == "*"
    assert [name for name in given if not (ROOT / name).exists()] == []
    assert {"constraints.txt", "Makefile", "server", "web", "clients/python"} <= given
    for target in re.findall(r"\bmake ([\w-]+) ", dict(instructions())["RUN"] + "make dashboard "):
        assert f"\n{target}:" in makefile


@pytest.mark.parametrize("name", ["serve", "bridge", "up"])
def test_the_settings_of_a_unit_are_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (SYSTEMD / f"{name}.env").read_text("utf-8").splitlines()
    variables = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    assert name in main.commands
    assert variables
    judged(variables, monkeypatch)


def test_the_unit_waits_for_the_drain_and_is_not_started_again_with_wrong_settings() -> None:
    text = UNIT.read_text("utf-8")
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)

    assert stop is not None
    assert float(stop[1]) > Settings.model_fields["drain_grace"].default
    assert "RestartPreventExitStatus=2" in text
    assert "NoNewPrivileges=yes" in text
    assert "DynamicUser=yes" in text


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze on this machine")
    unit = tmp_path / "pilothouse@serve.service"
    text = UNIT.read_text("utf-8").replace("/opt/pilothouse/bin/pilothouse-server", sys.executable)
    unit.write_text(text, "utf-8")

    verified = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )

    assert unit.name not in verified.stderr, verified.stderr


def test_yaml_merges_are_what_they_seem() -> None:
    said = cast("dict[str, Any]", yaml.safe_load(COMPOSE.read_text("utf-8")))
    assert set(said["services"]) == {"redis", "postgres", "server-1", "server-2", "bridge"}
    assert set(said["volumes"]) == {"redis", "postgres"}
