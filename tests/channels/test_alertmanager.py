"""What Alertmanager itself sends of an alert, and what we send of the same: one and the same."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from pilothouse_server.adapters.notifying.sender import Sender
from pilothouse_server.domain.notifications.notification import Status
from pilothouse_server.domain.notifications.payloads import time_text
from tests.channels.build import NOW_US, PATIENCE, SECOND, alert, notification, webhook
from tests.channels.receiver import Receiver, listening
from tests.support import free_port, wait_until

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

CONFIG = """
route:
  receiver: Ops
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
receivers:
  - name: Ops
    webhook_configs:
      - url: {url}
"""


@pytest.fixture
async def theirs(receiver: Receiver, tmp_path: Path) -> AsyncIterator[str]:
    """An Alertmanager that tells the receiver; where it takes alerts."""
    if PROGRAM is None:
        pytest.skip(
            "no Alertmanager on this machine (Debian: apt-get install prometheus-alertmanager)"
        )
    config, port = tmp_path / "alertmanager.yml", free_port()
    config.write_text(CONFIG.format(url=receiver.url()))
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        f"--config.file={config}",
        f"--storage.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.external-url=https://pilothouse.example",
        "--web.route-prefix=/",
        "--cluster.listen-address=",
        stderr=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient() as client:

        async def ready() -> bool:
            try:
                return (await client.get(f"{url}/-/ready")).is_success
            except httpx.TransportError:
                return False

        try:
            await wait_until(ready, within=40)
            yield url
        finally:
            process.kill()
            await process.wait()


async def test_the_webhook_is_the_one_that_alertmanager_sends(
    theirs: str, receiver: Receiver, sender: Sender
) -> None:
    async with listening() as ours, httpx.AsyncClient() as client:
        told: tuple[Status, ...] = ("firing", "resolved")
        for count, status in enumerate(told, start=1):
            each = alert(status=status, agent="a1", path='C:\\"x"', name_="ümlaut")
            posted = {
                "labels": dict(each.labels),
                "annotations": dict(each.annotations),
                "startsAt": time_text(NOW_US - 60 * SECOND),
                "generatorURL": "https://pilothouse.example",
            }
            if status == "resolved":
                posted["endsAt"] = time_text(NOW_US)
            answer = await client.post(f"{theirs}/api/v2/alerts", json=[posted])
            assert answer.is_success, answer.text
            await receiver.has(count)
            await sender.send(webhook(ours.url()), notification(each), PATIENCE)

        for their, our in zip(receiver.received, ours.received, strict=True):
            assert our.json == their.json
            assert list(our.json) == list(their.json)
            assert list(our.json["alerts"][0]) == list(their.json["alerts"][0])
            assert our.headers["content-type"] == their.headers["content-type"]
