"""What each stage is made of: steps one after another, each of tasks side by side, each task one run of a tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pilothouse_server.demo.brief import Brief


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work."""

    name: str
    """Unique in its stage."""
    agent_type: str
    """Who can do it."""
    tool: str
    """A module of `tools`."""
    arguments: tuple[str, ...]
    tries: int = 1
    """How often it is tried in one attempt of its stage."""


Step = tuple[Task, ...]
"""Tasks that are done side by side."""

TEST_TRIES = 3
"""A test that fails is tried again: it may be flaky."""


def steps_of(
    stage: str,
    brief: Brief,
    *,
    folder: Path,
    releases: Path,
    release: str,
    blamed: Sequence[str] = (),
) -> tuple[Step, ...]:
    """The steps of one stage. What an earlier attempt of it `blamed` is repaired first."""
    repair = Task("repair", "scaffolding", "repair", (str(folder), *blamed))
    first: tuple[Step, ...] = ((repair,),) if blamed else ()
    return first + _steps(stage, brief, str(folder), str(releases), release)


def _steps(stage: str, brief: Brief, folder: str, releases: str, release: str) -> tuple[Step, ...]:
    modules = [module.name for module in brief.modules]
    match stage:
        case "initialization":
            return ((Task("workspace", "planning", "workspace", (folder, brief.project())),),)
        case "scaffolding":
            parts = ("frame", *modules)
            return (tuple(Task(part, "scaffolding", "scaffold", (folder, part)) for part in parts),)
        case "dependency_check":
            return ((Task("imports", "dependency", "imports", (folder,)),),)
        case "validation":
            compiling = Task("compile", "validation", "compiling", (folder,))
            return ((compiling, Task("lint", "validation", "lint", (folder,))),)
        case "unit_tests":
            tests = (
                Task(name, "testing", "unittests", (folder, name), TEST_TRIES) for name in modules
            )
            return (tuple(tests),)
        case "integration_check":
            return ((Task("service", "integration", "integration", (folder,)),),)
        case "deployment":
            package = Task("package", "packaging", "package", (folder,))
            return (
                (package,),
                (Task("release", "deployment", "release", (folder, releases, release)),),
            )
        case _:
            raise ValueError(f"no stage is called {stage!r}")
