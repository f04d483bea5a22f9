"""Integration check: start the package's HTTP service and use it as a client would, then under a steady load."""

from __future__ import annotations

from pilothouse_server.demo.tools.report import done, failed, load_project
from pilothouse_server.demo.tools.serving import Client, ServiceBroken, serving

SLOWEST = 0.5
"""Seconds within which 95 % of the answers must come."""


def main(arguments: list[str]) -> int:
    """FOLDER."""
    (folder,) = arguments
    project = load_project(folder)
    source = f"src/{project['package']}/service.py"
    try:
        with serving(f"{folder}/src") as client:
            _use(client, project["package"])
            requests = len(client.seconds)
            p95 = client.watch_health(project["service"]["soak_seconds"], 0.05)
            requests += len(client.seconds)
    except ServiceBroken as error:
        return failed("INTEGRATION_FAILED", str(error), [source])
    if p95 > SLOWEST:
        return failed("TOO_SLOW", f"95 % of the answers took up to {p95 * 1000:.0f} ms", [source])
    return done(f"{requests} requests on port {client.port}, p95 {p95 * 1000:.1f} ms")


def _use(client: Client, package: str) -> None:
    health = client.expect(200, "GET", "/health")
    if health != {"package": package, "status": "ok"}:
        raise ServiceBroken(f"GET /health answers {health}")
    client.expect(404, "GET", "/items/missing")
    for number in range(10):
        client.expect(201, "PUT", f"/items/{number}", f'{{"number": {number}}}')
    for number in range(10):
        item = client.expect(200, "GET", f"/items/{number}")
        if item != {"number": number}:
            raise ServiceBroken(f"GET /items/{number} answers {item}")
    client.expect(400, "PUT", "/items/broken", "{")
    client.expect(200, "DELETE", "/items/3")
    client.expect(404, "GET", "/items/3")
