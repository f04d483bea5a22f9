"""A real Alertmanager that sends everything to one webhook."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.servers.process import end, spawn
from tests.support import free_port, wait_until_sync

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


class Alertmanager:
    """Its API, as far as it is needed."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def put(self, labels: Mapping[str, str], *, over: bool = False) -> None:
        """An alert fires, or is over."""
        now = datetime.now(UTC)
        alert: dict[str, Any] = {"labels": dict(labels)}
        alert |= {"endsAt": now.isoformat()} if over else {"startsAt": now.isoformat()}
        self._http.post("/alerts", json=[alert]).raise_for_status()

    def silence(self, matchers: Mapping[str, str]) -> str:
        """For an hour; returns its id."""
        now = datetime.now(UTC)
        silence = {
            "matchers": [
                {"name": name, "value": value, "isRegex": False, "isEqual": True}
                for name, value in matchers.items()
            ],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": "test",
            "comment": "test",
        }
        answer = self._http.post("/silences", json=silence).raise_for_status()
        return str(answer.json()["silenceID"])

    def expire(self, silence_id: str) -> None:
        """Ends a silence."""
        self._http.delete(f"/silence/{silence_id}").raise_for_status()

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return self._http.get("/status").is_success
        except httpx.TransportError:
            return False


@contextmanager
def running(
    folder: Path,
    receiver: str,
    *,
    route: Mapping[str, object],
    inhibit_rules: Sequence[Mapping[str, object]],
) -> Generator[Alertmanager]:
    """An Alertmanager that sends everything to one receiver."""
    assert PROGRAM is not None
    config = folder / "alertmanager.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "route": {"receiver": "hook", **route},
                "receivers": [
                    {"name": "hook", "webhook_configs": [{"url": receiver, "send_resolved": True}]}
                ],
                "inhibit_rules": list(inhibit_rules),
            }
        )
    )
    address = f"127.0.0.1:{free_port()}"
    command = [
        PROGRAM, f"--config.file={config}", f"--storage.path={folder / 'data'}", f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]  # fmt: skip
    process = spawn(command, folder / "alertmanager.log")
    try:
        with httpx.Client(base_url=f"http://{address}/api/v2", trust_env=False) as http:
            manager = Alertmanager(http)
            wait_until_sync(manager.ready, within=60, what="an Alertmanager that answers")
            yield manager
    finally:
        end(process, signal.SIGTERM)
