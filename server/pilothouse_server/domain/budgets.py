"""Budgets: ceilings on tokens, cost and time, and where something stands against them.

    WITHIN ──▶ WARNING ──▶ EXCEEDED     by the largest share of a ceiling that is used: warn_share of it, all of it

What a run used only grows, so a run goes this way once in each attempt and version of the budget. What a type used in a
window that slides falls again, and may cross a ceiling many times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from typing import Any, Final, NamedTuple

from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.waiting import BUDGET_ACTOR

MINUTE_US: Final = 60_000_000
MOST_BUDGETS: Final = 200
LARGEST: Final = (1 << 53) - 1
"""Of tokens or cost in a ceiling: what every reader of JSON still counts exactly."""
LAST_US: Final = 253_402_300_799_000_000
"""The last time that can be told; what would be reached later is not to be expected."""
RATE_US: Final = 5 * MINUTE_US
"""Over how long a rate is taken, at most."""


class Scope(IntEnum):
    """What a budget counts together. The numbers are those of the contract."""

    RUN = 1
    TYPE = 2


class BudgetState(IntEnum):
    """Where something stands. The numbers are those of the contract."""

    WITHIN = 1
    WARNING = 2
    EXCEEDED = 3


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What may be used; None is any amount."""

    tokens: int | None = None
    cost_micros: int | None = None
    duration_us: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget."""

    id: str
    name: str
    scope: Scope
    ceilings: Ceilings
    workflow_id: str = ""
    workflow_type: str = ""
    window_us: int = 0
    warn_share: float = 0.8
    pause: bool = False
    enabled: bool = False
    description: str = ""
    version: int = 1
    create_us: int = 0
    update_us: int = 0
    updated_by: str = ""

    @property
    def etag(self) -> str:
        """Changes when it does."""
        return str(self.version)

    @property
    def actor(self) -> str:
        """In whose name it asks for a pause."""
        return f"{BUDGET_ACTOR}{self.name}"

    def counts(self, workflow_id: str, workflow_type: str) -> bool:
        """Whether a workflow counts for it."""
        if self.workflow_id not in ("", workflow_id):
            return False
        return self.workflow_type in ("", workflow_type)


@dataclass(frozen=True, slots=True)
class Used:
    """What was used; `duration_us` is None while there is no time to speak of."""

    tokens: int = 0
    cost_micros: int = 0
    duration_us: int | None = None


class Rate(NamedTuple):
    """How fast it goes on: so much in so many microseconds."""

    tokens: int
    cost_micros: int
    over_us: int

    def per_minute(self, amount: int) -> float:
        """Of one of the two."""
        return amount * MINUTE_US / self.over_us


@dataclass(frozen=True, slots=True)
class Use:
    """How one run, or a type, stands against a budget."""

    workflow_id: str
    workflow_type: str
    state: BudgetState
    used: Used
    share: float
    rate: Rate | None = None
    exceed_us: int | None = None
    """When the first ceiling is reached if it goes on so."""
    command_id: str = ""


def share_of(ceilings: Ceilings, used: Used) -> float:
    """The largest share of a ceiling that is used."""
    pairs = (
        (used.tokens, ceilings.tokens),
        (used.cost_micros, ceilings.cost_micros),
        (used.duration_us, ceilings.duration_us),
    )
    return max((amount or 0) / ceiling if ceiling else 0.0 for amount, ceiling in pairs)


def state_of(budget: Budget, share: float) -> BudgetState:
    """Where it stands with this share of a ceiling used."""
    if share >= 1:
        return BudgetState.EXCEEDED
    return BudgetState.WARNING if share >= budget.warn_share else BudgetState.WITHIN


def exceed_us(
    budget: Budget, used: Used, rate: Rate | None, now_us: int, *, timed: bool
) -> int | None:
    """When the first ceiling is reached if it goes on so; None when one is already, none will be, or that is not
    known. `timed`: time goes on."""
    ceilings = budget.ceilings
    times: list[float] = []
    if timed and used.duration_us is not None and ceilings.duration_us is not None:
        times.append(ceilings.duration_us - used.duration_us)
    if rate is not None:
        for amount, fresh, ceiling in (
            (used.tokens, rate.tokens, ceilings.tokens),
            (used.cost_micros, rate.cost_micros, ceilings.cost_micros),
        ):
            if ceiling is None or fresh <= 0:
                continue
            # What slides out of the window goes as fast as what comes in, in the long run.
            if budget.window_us and fresh * budget.window_us < ceiling * rate.over_us:
                continue
            times.append((ceiling - amount) * rate.over_us / fresh)
    if not times or min(times) <= 0 or now_us + min(times) > LAST_US:
        return None
    return now_us + math.ceil(min(times))


def figures(budget: Budget, used: Used) -> str:
    """What is used of the ceiling that is nearest, for people."""
    ceilings = budget.ceilings
    told: list[tuple[float, str]] = []
    if ceilings.tokens:
        told.append(
            (used.tokens / ceilings.tokens, f"{used.tokens:,} of {ceilings.tokens:,} tokens")
        )
    if ceilings.cost_micros:
        cost, most = used.cost_micros / 1e6, ceilings.cost_micros / 1e6
        told.append(
            (used.cost_micros / ceilings.cost_micros, f"a cost of {cost:,.2f} of {most:,.2f}")
        )
    if ceilings.duration_us and used.duration_us is not None:
        words = f"{_span(used.duration_us)} of {_span(ceilings.duration_us)}"
        told.append((used.duration_us / ceilings.duration_us, words))
    share, words = max(told, default=(0.0, "nothing"))
    within = f" within {_span(budget.window_us)}" if budget.window_us else ""
    return f"{words}{within} ({share:.0%})"


def validate(budget: Budget) -> None:
    """Raises InvalidArgument with what is wrong between the fields."""
    ceilings = budget.ceilings
    if not budget.name.strip() or not budget.name.isprintable():
        raise InvalidArgument("budget.name", "needed, without control characters")
    if ceilings == Ceilings():
        raise InvalidArgument(
            "budget.ceilings", "at least one is needed: tokens, cost_micros or duration"
        )
    for name, value in (("tokens", ceilings.tokens), ("cost_micros", ceilings.cost_micros)):
        if value is not None and value > LARGEST:
            raise InvalidArgument(f"budget.ceilings.{name}", f"at most {LARGEST:,}")
    if budget.scope == Scope.RUN:
        if budget.window_us:
            raise InvalidArgument(
                "budget.window", "only with scope TYPE: a run is counted from its start"
            )
        return
    if not budget.window_us:
        raise InvalidArgument("budget.window", "needed with scope TYPE: 1 minute to 31 days")
    if budget.workflow_id:
        raise InvalidArgument("budget.workflow_id", "only with scope RUN")
    if ceilings.duration_us is not None:
        raise InvalidArgument("budget.ceilings.duration", "only with scope RUN")


def to_document(budget: Budget) -> dict[str, Any]:
    """What people set of it, for JSON; `from_document` reads it."""
    return {
        "scope": int(budget.scope),
        "ceilings": asdict(budget.ceilings),
        **{name: getattr(budget, name) for name in _PLAIN},
    }


def from_document(document: Mapping[str, Any], *, id: str, name: str, **kept: Any) -> Budget:
    """The budget with this document; `kept` is what is kept beside it."""
    return Budget(
        id=id,
        name=name,
        scope=Scope(document["scope"]),
        ceilings=Ceilings(**document["ceilings"]),
        **{each: document[each] for each in _PLAIN},
        **kept,
    )


_PLAIN = (
    "workflow_id", "workflow_type", "window_us", "warn_share", "pause", "enabled", "description",
)  # fmt: skip


def told(budget: Budget) -> dict[str, str]:
    """What people set of it, in words for the audit log."""
    document = to_document(budget)
    ceilings: dict[str, Any] = document.pop("ceilings")
    document |= {"name": budget.name, "scope": budget.scope.name} | ceilings
    return {name: str(value) for name, value in document.items() if value not in (None, "", 0)}


def differing(before: Budget, after: Budget) -> tuple[dict[str, str], dict[str, str]]:
    """What was changed, from and to."""
    was, now = told(before), told(after)
    names = [name for name in sorted({*was, *now}) if was.get(name) != now.get(name)]
    return {name: was.get(name, "") for name in names}, {name: now.get(name, "") for name in names}


def same(before: Budget, after: Budget) -> bool:
    """Whether people set the same."""
    return (before.name, to_document(before)) == (after.name, to_document(after))


@dataclass(frozen=True, slots=True)
class Stand:
    """What was last told of a run or of a type, and what came of its pause; see `sql.tables_budgets`."""

    budget_id: str
    workflow_id: str
    version: int
    attempt: int
    state: BudgetState = BudgetState.WITHIN
    crossings: int = 0
    tries: int = 0
    command_id: str = ""
    look_us: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A run, or with an empty id a whole type, that was found somewhere against a budget. `tell`: its crossing is said;
    `pause`: it is to be paused, if it was not before."""

    budget: Budget
    workflow_id: str
    workflow_type: str
    attempt: int
    state: BudgetState
    share: float
    used: Used
    tell: bool = True
    pause: bool = False
    words: str = field(default="")

    @property
    def key(self) -> tuple[str, str]:
        """Which stand it is about."""
        return self.budget.id, self.workflow_id


def stand_of(finding: Finding, before: Stand | None) -> Stand:
    """What is known of it under this version and in this attempt: anew when either is another one."""
    budget = finding.budget
    fresh = Stand(budget.id, finding.workflow_id, budget.version, finding.attempt)
    if before is None:
        return fresh
    if (before.version, before.attempt) != (budget.version, finding.attempt):
        return replace(fresh, crossings=before.crossings)
    return before


def _span(us: int) -> str:
    """A duration in its two largest units."""
    left, parts = us // 1_000_000, list[str]()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
