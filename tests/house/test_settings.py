"""Settings: each is documented with its default, judged when it is read, and named when it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pilothouse_server.config import InvalidSettings, Settings, read_settings
from pilothouse_server.services.retention import Policy

DEPLOYMENT = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"


def documented() -> dict[str, str]:
    """The default of each setting as the deployment guide says."""
    rows = re.findall(
        r"^\| `PILOTHOUSE_(\w+)` \|\s*(.*?)\s*\|", DEPLOYMENT.read_text("utf-8"), re.MULTILINE
    )
    return {name.lower(): default.strip("`") for name, default in rows}


def test_every_setting_is_in_the_deployment_guide_and_nothing_else_is() -> None:
    assert set(documented()) == set(Settings.model_fields)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_guide_says_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"PILOTHOUSE_{field.upper()}", raising=False)
    default = getattr(Settings(), name)
    said = documented()[name]

    if default is None or default == ():
        assert said in ("", "the one in the package")
    else:
        assert type(default)(said) == default


def test_a_variable_sets_and_the_command_line_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILOTHOUSE_HTTP_PORT", "9000")
    monkeypatch.setenv("PILOTHOUSE_ALLOWED_ORIGINS", "https://a.example, https://b.example")

    assert read_settings().http_port == 9000
    assert read_settings(http_port=9001).http_port == 9001
    assert read_settings(http_port=None).allowed_origins == (
        "https://a.example",
        "https://b.example",
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTP_PORT", "eighty"),
        ("GRPC_PORT", "-1"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("ACCEPT_DEADLINE", "0"),
        ("LIVE_INTERVAL", "0.01"),
        ("SERVER", "host-without-a-port"),
        ("SERVER", "a:1,,b:2"),
    ],
)
def test_a_wrong_value_is_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PILOTHOUSE_{variable}", value)

    with pytest.raises(InvalidSettings, match=f"PILOTHOUSE_{variable}"):
        read_settings()


@pytest.mark.parametrize(
    ("host", "exposed"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("db1", True)],
)
def test_what_others_can_reach_is_known(host: str, exposed: bool) -> None:
    assert read_settings(host=host).exposed is exposed


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KEEP_EVENTS_DAYS", "0.01"),
        ("KEEP_AGENTS_DAYS", "-1"),
        ("KEEP_EVENTS", "-1"),
        ("LOG_CAP_MB", "100"),
    ],
)
def test_what_is_to_be_kept_is_judged(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PILOTHOUSE_{variable}", value)

    with pytest.raises(InvalidSettings, match=f"PILOTHOUSE_{variable}"):
        read_settings()


def test_by_default_what_is_kept_is_what_the_policy_says() -> None:
    assert read_settings().retention == Policy()
    kept = read_settings(keep_events_days=0, keep_log_mb=0, log_cap_mb=1).retention
    assert (kept.events_us, kept.log.size_bytes, kept.log.cap_bytes) == (0, 0, 1 << 20)
