"""What the docs show runs, and the package says plainly what it needs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import pilothouse.langgraph
from tests.langgraph.support import House, stages

pytestmark = [pytest.mark.xdist_group("langgraph"), pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "clients" / "python" / "examples" / "graph.py"

WITHOUT = """
import importlib, sys
for name in ("langgraph", "langchain_core"):
    sys.modules[name] = None
for name in ("pilothouse", "pilothouse.aio", "pilothouse.executor", "pilothouse.cli"):
    importlib.import_module(name)
try:
    importlib.import_module("pilothouse.langgraph")
except ImportError as error:
    print(error)
"""


@pytest.mark.asyncio(loop_scope="package")
async def test_the_example_asks_and_publishes(
    house: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = importlib.util.spec_from_file_location("example_graph", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.chdir(tmp_path)

    def ask(question: str) -> str:
        return "yes" if question == "Publish? The new kettle: the tea stays warm." else "no"

    monkeypatch.setattr(example, "ask", ask)
    await example.main(house.target, "release-1")
    assert "published" in capsys.readouterr().out
    shown = await house.is_in("release-1", "COMPLETED")
    assert list(stages(shown)) == ["step 1: draft", "step 2: review", "step 3: publish"]


def test_the_docs_show_the_example_as_it_is() -> None:
    code = EXAMPLE.read_text("utf-8")
    docs = (ROOT / "docs" / "langgraph.md").read_text("utf-8")
    assert code[code.index("import asyncio") :].strip() in docs


def test_the_client_needs_no_langgraph_and_says_what_the_connector_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=60
    )
    assert "pip install 'pilothouse[langgraph]'" in done.stdout


def test_the_names_of_the_connector() -> None:
    assert sorted(pilothouse.langgraph.__all__) == [
        "GraphRun",
        "LangGraphRunner",
        "NotWaiting",
        "Outcome",
        "RunCancelled",
        "RunState",
        "RunUnderWay",
        "RunnerClosed",
    ]
