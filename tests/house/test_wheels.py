"""Both distributions as a stranger gets them: built, installed into an empty environment, and run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import free_port, wait_until_sync

ROOT = Path(__file__).resolve().parents[2]

# One worker builds and installs for all of them; the network may be slow.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("wheels"),
]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each distribution's wheel, built from its source distribution as an index would have it."""
    out = tmp_path_factory.mktemp("dist")
    for source in ("clients/python", "server"):
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out)]
        done = subprocess.run(
            [*build, str(ROOT / source)], capture_output=True, check=False, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return {path.name.split("-")[0]: path for path in out.glob("*.whl")}


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that holds the two wheels and what they need."""
    home = tmp_path_factory.mktemp("empty") / "env"
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    constraints = ["--disable-pip-version-check", "--constraint", str(ROOT / "constraints.txt")]
    done = subprocess.run(
        [*pip, *constraints, *(str(wheel) for wheel in wheels.values())],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "bin"


@pytest.fixture
def running(installed: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`pilothouse-server up` from the wheels, away from the checkout, and its address."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PILOTHOUSE_HTTP_PORT": str(port),
        "PILOTHOUSE_GRPC_PORT": str(free_port()),
        "PILOTHOUSE_DATA_DIR": str(tmp_path / "data"),
    }
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [installed / "pilothouse-server", "up"],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_sync(
            lambda: server.poll() is not None or _fetch(f"http://127.0.0.1:{port}/healthz"),
            within=60,
            what="an answer of /healthz",
        )
        assert server.poll() is None, (tmp_path / "log").read_text("utf-8")
        yield server, f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _fetch(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            body: bytes = answer.read()
            return body
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_servers_wheel_carries_the_dashboard_and_the_migrations(
    wheels: dict[str, Path],
) -> None:
    names = _names(wheels["pilothouse_server"])
    assert "pilothouse_server/dashboard/index.html" in names
    assert "pilothouse_server/migrations/__init__.py" in names
    assert "pilothouse_server/py.typed" in names


def test_the_clients_wheel_is_typed_and_carries_the_generated_code(wheels: dict[str, Path]) -> None:
    names = _names(wheels["pilothouse"])
    assert {"pilothouse/py.typed", "pilothouse/v1/events_pb2.pyi"} <= names
    assert "pilothouse/_vendor/buf/validate/validate_pb2.py" in names


def test_wheels_carry_their_license_and_nothing_beside_their_package(
    wheels: dict[str, Path],
) -> None:
    for package, wheel in wheels.items():
        names = _names(wheel)
        assert any(name.endswith("licenses/LICENSE") for name in names)
        outside = [name for name in names if not name.startswith((f"{package}/", f"{package}-"))]
        assert outside == []


def test_the_client_alone_does_not_need_the_server(installed: Path) -> None:
    program = "import sys, pilothouse; sys.exit('pilothouse_server' in sys.modules)"
    subprocess.run([installed / "python", "-I", "-c", program], check=True)


def test_up_serves_the_dashboard_and_ends_on_sigterm(
    running: tuple[subprocess.Popen[bytes], str],
) -> None:
    server, url = running
    page = _fetch(f"{url}/")
    assert page is not None
    assert b"<title>Pilothouse" in page
    assert b"<script" in page
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0
