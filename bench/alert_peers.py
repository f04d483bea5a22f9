"""What alerts are measured with: a receiver of webhooks, and beside our server Prometheus and Alertmanager (the Debian
packages), set as fast as they go: 1 s scrape and evaluation, `group_wait: 0s`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.servers.process import end, spawn
from tests.support import free_port, wait_until

PROMETHEUS = shutil.which("prometheus") or ""
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager") or ""

Answer = Callable[[bytes], bytes]


@asynccontextmanager
async def answering(answer: Answer, *, hangs: bool = False) -> AsyncGenerator[int]:
    """A server that gives each request's body to `answer` and sends what that returns; or never answers. Yields its
    port."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                body = await _body(reader)
                if hangs:
                    await ended.wait()
                    return
                answered = answer(body)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(answered)}\r\n\r\n"
                writer.write(head.encode() + answered)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ended.set()
        server.close()


async def _body(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(
        (line.split(":")[1] for line in head.split("\r\n") if line.startswith("content-length:")),
        "0",
    )
    return await reader.readexactly(int(length))


@dataclass(slots=True)
class Hook:
    """What a webhook got: when each alert was first told as firing, by the value of a label."""

    label: str
    firing: dict[str, float] = field(default_factory=dict[str, float])
    requests: int = 0

    def take(self, body: bytes) -> bytes:
        """One request of Alertmanager's form, ours or its own."""
        now = time.monotonic()
        self.requests += 1
        for alert in json.loads(body)["alerts"]:
            if alert["status"] == "firing":
                self.firing.setdefault(alert["labels"].get(self.label, ""), now)
        return b""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    url: str
    process: psutil.Process

    async def is_at_work(self, *, alerting: bool) -> bool:
        """Whether it has scraped its target and knows its Alertmanager: both take seconds after the start."""
        async with httpx.AsyncClient(trust_env=False) as http:
            targets = (await http.get(f"{self.url}/api/v1/targets")).json()["data"]
            managers = (await http.get(f"{self.url}/api/v1/alertmanagers")).json()["data"]
        up = [each["health"] == "up" for each in targets["activeTargets"]]
        return any(up) and (bool(managers["activeAlertmanagers"]) or not alerting)

    async def alerts(self, http: httpx.AsyncClient) -> list[Mapping[str, str]]:
        """The labels of those that fire."""
        answer = (await http.get(f"{self.url}/api/v1/alerts")).json()
        found = [each for each in answer["data"]["alerts"] if each["state"] == "firing"]
        return [each["labels"] for each in found]

    async def evaluation(self, http: httpx.AsyncClient) -> list[float]:
        """Seconds that the newest evaluation of each group took."""
        answer = (await http.get(f"{self.url}/api/v1/rules")).json()
        return [float(group["evaluationTime"]) for group in answer["data"]["groups"]]


@asynccontextmanager
async def running_prometheus(
    exporter: int, rules: Sequence[Mapping[str, Any]], alertmanager: str = ""
) -> AsyncGenerator[Prometheus]:
    """A Prometheus that scrapes a port of this machine and evaluates rules, each second."""
    with _folder() as folder:
        config: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [
                {"job_name": "bench", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}
            ],
            "rule_files": [str(folder / "rules.yml")],
        }
        if alertmanager:
            targets = [{"targets": [alertmanager]}]
            config["alerting"] = {"alertmanagers": [{"static_configs": targets}]}
        groups = [{"name": f"g{n}", "rules": [rule]} for n, rule in enumerate(rules)]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
        address = f"127.0.0.1:{free_port()}"
        command = [
            PROMETHEUS, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ]  # fmt: skip
        async with _running(command, folder, f"http://{address}/-/ready") as process:
            prometheus = Prometheus(f"http://{address}", process)
            await wait_until(
                lambda: prometheus.is_at_work(alerting=bool(alertmanager)),
                within=30,
                what="a first scrape",
            )
            yield prometheus


@asynccontextmanager
async def running_alertmanager(hook: int, group_by: Sequence[str]) -> AsyncGenerator[str]:
    """An Alertmanager that tells a webhook at once. Yields its address."""
    with _folder() as folder:
        config = folder / "alertmanager.yml"
        route = {
            "receiver": "hook",
            "group_by": list(group_by),
            "group_wait": "0s",
            "group_interval": "1s",
        }
        hooks = [{"url": f"http://127.0.0.1:{hook}/"}]
        receivers = [{"name": "hook", "webhook_configs": hooks}]
        config.write_text(yaml.safe_dump({"route": route, "receivers": receivers}))
        address = f"127.0.0.1:{free_port()}"
        command = [
            ALERTMANAGER, f"--config.file={config}", f"--storage.path={folder / 'data'}",
            f"--web.listen-address={address}", "--cluster.listen-address=",
        ]  # fmt: skip
        async with _running(command, folder, f"http://{address}/-/ready"):
            yield address


@asynccontextmanager
async def _running(
    command: Sequence[str], folder: Path, ready: str
) -> AsyncGenerator[psutil.Process]:
    process: subprocess.Popen[bytes] = spawn(command, folder / "log")
    try:
        async with httpx.AsyncClient(trust_env=False) as http:

            async def answers() -> bool:
                try:
                    return (await http.get(ready)).is_success
                except httpx.TransportError:
                    return False

            await wait_until(answers, within=30, what=f"an answer of {ready}")
        yield psutil.Process(process.pid)
    finally:
        await asyncio.to_thread(end, process, signal.SIGTERM)


@contextmanager
def _folder() -> Generator[Path]:
    """Deleted after; a process that has just ended may still have written into it."""
    with tempfile.TemporaryDirectory(
        prefix="pilothouse-bench-", ignore_cleanup_errors=True
    ) as name:
        yield Path(name)


def versions() -> list[str]:
    """Of both programs, as they say it themselves."""
    return [
        subprocess.run([program, "--version"], capture_output=True, check=True, text=True)
        .stdout.splitlines()[0]
        .split(" (")[0]
        for program in (PROMETHEUS, ALERTMANAGER)
    ]
