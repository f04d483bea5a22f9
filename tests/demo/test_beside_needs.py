"""What runs beside the demo's engine needs no server for: what has to be installed, and which checkpoints are kept."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from pilothouse_server.__main__ import main
from pilothouse_server.demo import beside
from pilothouse_server.demo.langgraph_app import BadEntry, glossary
from pilothouse_server.demo.langgraph_side import Threads
from pilothouse_server.demo.launch import LANGGRAPH

pytestmark = pytest.mark.timeout(180)

WITHOUT = """
import sys
for name in ("langgraph", "langchain_core", "opentelemetry.sdk", "celery"):
    sys.modules[name] = None
import pilothouse_server.__main__
"""


async def test_only_the_newest_threads_and_those_that_are_needed_keep_checkpoints(
    tmp_path: Path,
) -> None:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "langgraph.db")) as saver:
        graph: Any = glossary(saver, 0.001)
        for number in range(4):
            thread = {"configurable": {"thread_id": f"run-{number}"}}
            with suppress(BadEntry):
                await graph.ainvoke({"package": "importlib"}, thread)
        threads = Threads(saver)
        await threads.read()
        assert threads.ids == [f"run-{number}" for number in range(4)]
        await threads.keep_within(2, ["run-0"])
        again = Threads(saver)
        await again.read()
        assert again.ids == threads.ids == ["run-0", "run-2", "run-3"]


def test_what_is_not_installed_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(beside.NEEDED, LANGGRAPH, ("langgraph", "no-such-distribution"))
    said = CliRunner().invoke(main, ["demo", "--langgraph", "--opentelemetry"])
    assert said.exit_code == 2
    assert "not installed here: no-such-distribution" in said.stderr
    assert "pip install 'pilothouse-server[demo]'" in said.stderr


def test_the_server_needs_none_of_it() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, timeout=150)
