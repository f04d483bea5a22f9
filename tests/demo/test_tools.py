"""The stages' tools do real work on real code, and find what is really wrong with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from pilothouse_server.demo.brief import Brief, Module, Service
from pilothouse_server.demo.processes import Verdict, run_tool
from pilothouse_server.demo.tools import catalogue
from tests.demo.support import tools_in
from tests.support import wait_until

PACE = 0.1
SOAK = 1.2
"""Seconds; so many answers are waited for that a single one may be slow, as on a machine that does more than this."""


async def tool(name: str, *arguments: object, seed: str = "1") -> Verdict:
    return await run_tool(
        name,
        [str(word) for word in arguments],
        environment={"TEST_SEED": seed},
        on_start=lambda: None,
    )


async def scaffolded(
    folder: Path, modules: Sequence[str], defect: str = "", service: str = "", soak: float = SOAK
) -> Path:
    """A project whose modules all have the defect."""
    brief = Brief(
        "feature",
        "Add something",
        "harbor",
        "1.2.3",
        tuple(Module(name, 50, PACE, defect) for name in modules),
        Service(soak, 0.2, service),
    )
    verdicts = [await tool("workspace", folder, json.dumps(asdict(brief)))]
    verdicts += [await tool("scaffold", folder, part) for part in ("frame", *modules)]
    assert all(verdict.ok for verdict in verdicts), verdicts
    return folder


async def test_what_is_written_well_passes_every_stage(tmp_path: Path) -> None:
    names = (*catalogue.PURE, *catalogue.TIMED)
    folder = await scaffolded(tmp_path / "work", names)
    checks = [
        await tool(name, folder)
        for name in ("imports", "compiling", "lint", "integration", "package")
    ]
    checks += await asyncio.gather(*(tool("unittests", folder, name) for name in names))
    checks.append(await tool("release", folder, tmp_path / "releases", "r1"))
    assert [verdict.message for verdict in checks if not verdict.ok] == []
    assert (tmp_path / "releases" / "harbor" / "current" / "app.pyz").is_file()


@pytest.mark.parametrize(
    ("defect", "check", "code"),
    [
        ("missing_colon", "compiling", "COMPILE_ERROR"),
        ("missing_colon", "imports", "DEPENDENCY_UNRESOLVED"),
        ("undeclared_import", "imports", "DEPENDENCY_UNRESOLVED"),
        ("undeclared_import", "lint", "LINT_FINDINGS"),
        ("literal_identity", "compiling", "COMPILE_ERROR"),
        ("bare_except", "lint", "LINT_FINDINGS"),
    ],
)
async def test_sloppy_code_is_found_blamed_and_repaired(
    tmp_path: Path, defect: str, check: str, code: str
) -> None:
    folder = await scaffolded(tmp_path / "work", ["money"], defect)
    verdict = await tool(check, folder)
    assert (verdict.code, verdict.files) == (code, ("src/harbor/money.py",)), verdict
    assert (await tool("repair", folder, *verdict.files)).ok
    assert (await tool(check, folder)).ok


@pytest.mark.parametrize("module", [*catalogue.PURE, *catalogue.TIMED])
async def test_a_bug_is_found_by_the_tests_of_its_module(tmp_path: Path, module: str) -> None:
    folder = await scaffolded(tmp_path / "work", [module], "wrong")
    assert (await tool("compiling", folder)).ok
    verdict = await tool("unittests", folder, module)
    assert (verdict.code, verdict.files) == ("TESTS_FAILED", (f"tests/test_{module}.py",)), verdict
    assert (await tool("repair", folder, *verdict.files)).ok
    assert (await tool("unittests", folder, module)).ok


@pytest.mark.parametrize("module", catalogue.CHANCY)
async def test_a_flaky_test_is_decided_by_its_seed_alone(tmp_path: Path, module: str) -> None:
    folder = await scaffolded(tmp_path / "work", [module], "flaky")

    async def outcomes() -> list[bool]:
        return [(await tool("unittests", folder, module, seed=str(seed))).ok for seed in range(12)]

    first = await outcomes()
    assert set(first) == {True, False}
    assert await outcomes() == first


@pytest.mark.parametrize("defect", ["unhandled_key", "unbound_name"])
async def test_a_broken_service_fails_the_integration_check(tmp_path: Path, defect: str) -> None:
    folder = await scaffolded(tmp_path / "work", ["slugs"], service=defect)
    verdict = await tool("integration", folder)
    assert (verdict.code, verdict.files) == ("INTEGRATION_FAILED", ("src/harbor/service.py",)), (
        verdict
    )
    assert (await tool("repair", folder, *verdict.files)).ok
    assert (await tool("integration", folder)).ok


@pytest.mark.parametrize(
    ("defect", "code"), [("stale_version", "SELF_CHECK_FAILED"), ("unbound_name", "CANARY_FAILED")]
)
async def test_a_bad_release_leaves_the_one_before_it_live(
    tmp_path: Path, defect: str, code: str
) -> None:
    live = tmp_path / "releases" / "harbor" / "current"
    good = await scaffolded(tmp_path / "good", ["slugs"])
    bad = await scaffolded(tmp_path / "bad", ["slugs"], service=defect)
    for folder in (good, bad):
        assert (await tool("package", folder)).ok
    assert (await tool("release", good, tmp_path / "releases", "r1")).ok
    verdict = await tool("release", bad, tmp_path / "releases", "r2")
    assert (verdict.code, str(live.readlink())) == (code, "r1"), verdict


async def test_old_releases_are_removed_and_the_live_one_never(tmp_path: Path) -> None:
    folder = await scaffolded(tmp_path / "work", ["slugs"])
    assert (await tool("package", folder)).ok
    for number in range(5):
        assert (await tool("release", folder, tmp_path / "releases", f"r{number}")).ok
    home = tmp_path / "releases" / "harbor"
    assert sorted(entry.name for entry in home.iterdir()) == ["current", "r2", "r3", "r4"]
    assert str((home / "current").readlink()) == "r4"


async def test_a_cancelled_tool_leaves_no_process(tmp_path: Path) -> None:
    folder = await scaffolded(tmp_path / "work", ["slugs"], soak=60)
    work = asyncio.create_task(tool("integration", folder))
    await wait_until(
        lambda: len(tools_in(folder)) == 2, within=30, what="the tool and the service run"
    )
    group = tools_in(folder)
    work.cancel()
    await asyncio.wait([work])
    assert psutil.wait_procs(group, timeout=10)[1] == []


async def test_a_tool_that_takes_too_long_is_killed_and_judged(tmp_path: Path) -> None:
    folder = await scaffolded(tmp_path / "work", ["slugs"], soak=60)
    verdict = await run_tool(
        "integration", [str(folder)], environment={}, on_start=lambda: None, deadline=0.5
    )
    assert verdict.code == "DEADLINE_EXCEEDED"
    await wait_until(lambda: not tools_in(folder), what="all of it is gone")


async def test_a_tool_that_breaks_says_so(tmp_path: Path) -> None:
    verdict = await tool("imports", tmp_path / "nothing")
    assert verdict.code == "TOOL_BROKEN"
    assert "FileNotFoundError" in verdict.message
