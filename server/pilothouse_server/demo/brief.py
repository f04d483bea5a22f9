"""What one workflow has to do, decided by chance from a seed and its number alone: a seed names a whole run.

The defects are decided here too, but only `tools.scaffold` puts them into the code; whether and where they are found is
up to the stages.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, replace

from pilothouse_server.demo.tools import catalogue

ALL_STAGES = (
    "initialization",
    "scaffolding",
    "dependency_check",
    "validation",
    "unit_tests",
    "integration_check",
    "deployment",
)

PLANS: dict[str, tuple[str, ...]] = {
    "feature": ALL_STAGES,
    "bugfix": ("initialization", "scaffolding", "validation", "unit_tests", "deployment"),
    "release": ALL_STAGES,
    "nightly": ALL_STAGES[:-1],
}
"""The stages of each workflow type, in order."""

_WEIGHTS = {"feature": 5, "bugfix": 3, "release": 2, "nightly": 1}
_SIZES = {"feature": (2, 2), "bugfix": (1, 1), "release": (2, 2), "nightly": (3, 3)}
_TITLES = {
    "feature": "Add {module} to {package}",
    "bugfix": "Fix {module} in {package}",
    "release": "Release {package} {version}",
    "nightly": "Nightly check of {package}",
}
_PACKAGES = (
    "atlas", "beacon", "compass", "dispatch", "ferry", "harbor", "ledger", "manifest", "mooring", "pilot", "quay",
    "rudder", "sextant", "tide",
)  # fmt: skip

SLOPPY, WRONG, SERVICE, FLAKY = 0.02, 0.01, 0.015, 0.25
"""How often a project has: a defect found before its tests, a bug, a broken service, a flaky test."""


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the package and its tests."""

    name: str
    rounds: int
    """Random cases in a test."""
    pace: float
    """By how much tests of real time are stretched."""
    defect: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """The HTTP service of the package and how long it is watched."""

    soak_seconds: float
    canary_seconds: float
    defect: str = ""


@dataclass(frozen=True, slots=True)
class Brief:
    """One workflow."""

    kind: str
    """The workflow type."""
    title: str
    package: str
    version: str
    modules: tuple[Module, ...]
    service: Service

    @property
    def plan(self) -> tuple[str, ...]:
        """The names of its stages, in order."""
        return PLANS[self.kind]

    def project(self) -> str:
        """What the tools need to know, as JSON."""
        return json.dumps(asdict(self))

    def without_defects(self) -> Brief:
        """The same, done well."""
        modules = tuple(replace(module, defect="") for module in self.modules)
        return replace(self, modules=modules, service=replace(self.service, defect=""))


def brief_of(seed: int, number: int) -> Brief:
    """The brief of the workflow `number` in a run with this seed."""
    rng = random.Random(f"{seed}:{number}")  # noqa: S311 - repeatable on purpose
    kind = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    package = rng.choice(_PACKAGES)
    version = f"{rng.randint(0, 3)}.{rng.randint(0, 20)}.{number}"
    modules = _modules(rng, *_SIZES[kind])
    soak = rng.uniform(5.0, 8.0) if kind == "nightly" else rng.uniform(2.0, 3.5)
    service = Service(round(soak, 2), round(rng.uniform(1.2, 2.0), 2))
    chance = rng.random()
    place = rng.randrange(len(modules))
    if chance < SLOPPY:
        modules[place] = replace(modules[place], defect=rng.choice(catalogue.SLOPPY))
    elif chance < SLOPPY + WRONG:
        modules[place] = replace(modules[place], defect="wrong")
    elif chance < SLOPPY + WRONG + SERVICE:
        service = replace(service, defect=rng.choice(catalogue.SERVICE))
    elif chance < SLOPPY + WRONG + SERVICE + FLAKY:
        _make_flaky(rng, modules)
    title = _TITLES[kind].format(module=modules[0].name, package=package, version=version)
    return Brief(kind, title, package, version, tuple(modules), service)


def _modules(rng: random.Random, pure: int, timed: int) -> list[Module]:
    names = rng.sample(catalogue.PURE, pure) + rng.sample(catalogue.TIMED, timed)
    return [
        Module(name, rng.randrange(100, 300), round(rng.uniform(1.2, 3.0), 2)) for name in names
    ]


def _make_flaky(rng: random.Random, modules: list[Module]) -> None:
    for place, module in enumerate(modules):
        if module.name in catalogue.CHANCY:
            modules[place] = replace(module, defect="flaky")
            return
    modules[0] = replace(modules[0], name=rng.choice(catalogue.CHANCY), defect="flaky")
