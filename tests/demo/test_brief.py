"""What there is to do follows from the seed and the number, and has variety."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from pilothouse_server.demo.__main__ import arguments_of
from pilothouse_server.demo.brief import PLANS, brief_of
from pilothouse_server.demo.engine import set_aside
from pilothouse_server.demo.fleet import AGENTS
from pilothouse_server.demo.stages import steps_of


def test_the_seed_and_the_number_decide_all() -> None:
    assert [brief_of(5, number) for number in range(50)] == [
        brief_of(5, number) for number in range(50)
    ]
    assert brief_of(5, 1) != brief_of(6, 1)


def test_there_is_work_of_every_kind_and_now_and_then_it_is_bad() -> None:
    briefs = [brief_of(1, number) for number in range(1000)]
    assert {brief.kind for brief in briefs} == set(PLANS)
    assert len({brief.package for brief in briefs}) > 10
    bad = Counter(
        next((module.defect for module in brief.modules if module.defect), brief.service.defect)
        for brief in briefs
    )
    assert {"", "flaky", "wrong", "missing_colon", "bare_except", "stale_version"} <= set(bad)
    assert bad[""] > 600


def test_names_of_modules_are_unique_in_a_project() -> None:
    for number in range(500):
        names = [module.name for module in brief_of(3, number).modules]
        assert len(set(names)) == len(names)


def test_without_defects_there_is_none() -> None:
    for number in range(200):
        project = json.loads(brief_of(2, number).without_defects().project())
        assert {module["defect"] for module in project["modules"]} == {""}
        assert project["service"]["defect"] == ""


@pytest.mark.parametrize("kind", PLANS)
def test_there_is_an_agent_for_every_task(kind: str) -> None:
    brief = next(brief for number in range(100) if (brief := brief_of(1, number)).kind == kind)
    able = {agent_type for _, agent_type, _ in AGENTS}
    for stage in brief.plan:
        steps = steps_of(
            stage,
            brief,
            folder=Path("work"),
            releases=Path("releases"),
            release="r",
            blamed=["a.py"],
        )
        tasks = [task for step in steps for task in step]
        assert {task.agent_type for task in tasks} <= able
        assert len({task.name for task in tasks}) == len(tasks)


@pytest.mark.parametrize("pace", ["0", "-1", "1e9", "nan", "fast"])
def test_a_pace_that_makes_no_sense_is_refused(
    pace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        arguments_of(["--data-dir", "d", "--pace", pace], {})
    assert "pace" in capsys.readouterr().err


def test_the_environment_sets_the_pace_and_the_server() -> None:
    given = {"PILOTHOUSE_DEMO_PACE": "60", "PILOTHOUSE_SERVER": "127.0.0.1:1"}
    options = arguments_of(["--data-dir", "d"], given)
    assert (options.pace, options.server) == (60.0, "127.0.0.1:1")


def test_old_work_folders_are_set_aside_and_kept_ones_stay(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / "work" / name).mkdir(parents=True)
    aside = set_aside(tmp_path / "work", {"new"})
    assert [folder.parent for folder in aside] == [tmp_path / "trash"]
    assert [folder.name for folder in (tmp_path / "work").iterdir()] == ["new"]
