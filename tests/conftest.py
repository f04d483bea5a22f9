"""Fixtures for every area: where a real browser is, and a look at what the tests leave running."""

from __future__ import annotations

import contextlib
import os

# Read by gRPC when it is imported. What tests start are programs of their own, so gRPC need not prepare for a fork; it
# would break a server that is started while calls are under way.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from collections.abc import Iterator

import hypothesis
import psutil
import pytest

from tests import browsers

pytest_plugins = ("tests.servers.fixtures", "tests.databases")

LONGEST_ID = 200

# One slow example says something about a shared machine; the bound is each test's own timeout.
hypothesis.settings.register_profile("pilothouse", deadline=None, print_blob=True)
# A gate says yes or no to a change, so it tries the same examples each time; new ones are tried by everybody else.
hypothesis.settings.register_profile(
    "gate", hypothesis.settings.get_profile("pilothouse"), derandomize=True
)
hypothesis.settings.load_profile("gate" if os.environ.get("CI") else "pilothouse")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Short ones: what a test starts has the test's id in its environment, where there is not room for everything."""
    if isinstance(val, (str, bytes)) and len(val) > LONGEST_ID:
        return f"{len(val)} long"
    return None


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """A process that outlives the tests which started it is a failure."""
    yield
    # What was told to end has to be given the time for it on a busy machine.
    _, left = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=20)
    commands: list[str] = []
    for process in left:
        # It may end while it is looked at.
        with contextlib.suppress(psutil.NoSuchProcess):
            commands.append(" ".join(process.cmdline()))
            process.kill()
    assert not commands, f"still running after the last test: {commands}"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one a browser test fails, unless told to be skipped."""
    if path := browsers.found():
        return path
    if os.environ.get("PILOTHOUSE_SKIP_BROWSER") == "1":
        pytest.skip("PILOTHOUSE_SKIP_BROWSER=1")
    pytest.fail(
        f"{browsers.MISSING}, or set PILOTHOUSE_SKIP_BROWSER=1 to leave the browser tests out",
        pytrace=False,
    )
