"""What can be refused, as data. Each class has one reason of the contract, in the table at the end, and one gRPC code,
in `transport/status.py`.

PilothouseError
├── InvalidArgument        a value breaks a rule                 (field, description)
├── InvalidFilter          a filter does not parse               (position, expected)
├── InvalidPageToken, InvalidResumeToken
├── NotFound               there is no such thing                (kind, id)
├── IllegalTransition, CommandPending, UnsupportedByEngine, NoExecutor, CommandEnded, AlertResolved
├── EngineConnected        it can end its workflows itself       (source)
├── DeadEventTruncated
├── NotConfirmed           what was typed is not what has to be  (expected)
├── WrongState             not where it stands                   (kind, id, state, action)
├── DeliveryOver           it arrived or was dropped             (delivery_id, state)
├── AlreadyThere           another one has this id or name       (kind, field, value)
├── StillNamed             others name it, so it cannot go       (kind, id, named_by)
├── NoSecretKey            nothing to encrypt secrets with       (setting)
├── EtagMismatch           someone else was first
├── RequestIdReused        same request id, other content
├── NotCommandOwner
├── LimitExceeded          something is too large or too much    (limit, maximum, value)
├── Busy                   too many at once: try again           (what, maximum)
└── Unavailable            try again                             (what, retry_after_us)
    └── Misconfigured      … but not before somebody sets it right
"""

from __future__ import annotations

from dataclasses import dataclass


class PilothouseError(Exception):
    """The base: everything that is refused on purpose."""

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """For people: what is wrong and what to do."""
        return type(self).__name__

    @property
    def reason(self) -> str:
        """The name of its ErrorReason, without the prefix."""
        return _REASONS[type(self)]

    @property
    def metadata(self) -> dict[str, str]:
        """The words that change from case to case."""
        return {name: str(value) for name, value in vars(self).items()}


@dataclass(eq=False)
class InvalidArgument(PilothouseError):
    field: str
    description: str

    @property
    def message(self) -> str:
        return f"{self.field}: {self.description}"


@dataclass(eq=False)
class InvalidFilter(PilothouseError):
    position: int
    expected: str
    filter: str = ""

    @property
    def message(self) -> str:
        return f"filter: at character {self.position + 1}: {self.expected}"


@dataclass(eq=False)
class InvalidPageToken(PilothouseError):
    why: str = "not from this list with these parameters"

    @property
    def message(self) -> str:
        return f"page_token: {self.why}; ask for the first page again"


@dataclass(eq=False)
class InvalidResumeToken(PilothouseError):
    @property
    def message(self) -> str:
        return "resume_token: not from this stream; start again without one"


@dataclass(eq=False)
class NotFound(PilothouseError):
    kind: str
    """One of workflow, agent, command, alert, rule, rule_version, dead_event, channel, escalation, heartbeat,
    silence, delivery, queue, batch, emergency_stop, budget, config_version, event, trace."""
    id: str

    @property
    def message(self) -> str:
        return f"there is no {self.kind.replace('_', ' ')} {self.id!r}"

    @property
    def reason(self) -> str:
        return f"{self.kind.upper()}_NOT_FOUND"

    @property
    def metadata(self) -> dict[str, str]:
        return {f"{self.kind}_id": self.id}


@dataclass(eq=False)
class IllegalTransition(PilothouseError):
    action: str
    state: str
    legal_actions: str

    @property
    def message(self) -> str:
        legal = (
            f"legal now: {self.legal_actions}"
            if self.legal_actions
            else "nothing can be asked of it any more"
        )
        return f"cannot {self.action} a workflow that is {self.state}; {legal}"


@dataclass(eq=False)
class CommandPending(PilothouseError):
    command_id: str
    action: str
    kind: str = "workflow"
    """What it is about: workflow, agent, queue or engine."""

    @property
    def message(self) -> str:
        pending = f"command {self.command_id} ({self.action}) on this {self.kind} has not ended"
        instead = ", or cancel the workflow" if self.kind == "workflow" else ""
        return f"{pending}; wait for it{instead}"

    @property
    def metadata(self) -> dict[str, str]:
        return {"command_id": self.command_id, "action": self.action}


@dataclass(eq=False)
class UnsupportedByEngine(PilothouseError):
    action: str
    source: str
    of: str = "a workflow"
    """To what, in words."""

    @property
    def message(self) -> str:
        return f"the engine {self.source!r} did not declare that it can {self.action} {self.of}"

    @property
    def metadata(self) -> dict[str, str]:
        return {"action": self.action, "source": self.source}


@dataclass(eq=False)
class NoExecutor(PilothouseError):
    source: str

    @property
    def message(self) -> str:
        named = (
            f"of the engine {self.source!r}"
            if self.source
            else "(the workflow's events name no source)"
        )
        return f"no executor {named} has ever connected, so nobody could carry this out"


@dataclass(eq=False)
class EngineConnected(PilothouseError):
    source: str

    @property
    def message(self) -> str:
        told = f"the engine {self.source!r} is connected, so its workflows are its own to end"
        return f"{told}; cancel this one, or stop the engine first if it is wrong about it"


@dataclass(eq=False)
class CommandEnded(PilothouseError):
    command_id: str
    state: str

    @property
    def message(self) -> str:
        return f"command {self.command_id} has ended: {self.state}"


@dataclass(eq=False)
class AlertResolved(PilothouseError):
    alert_id: str

    @property
    def message(self) -> str:
        return f"alert {self.alert_id} is already resolved"


@dataclass(eq=False)
class DeadEventTruncated(PilothouseError):
    dead_event_id: str

    @property
    def message(self) -> str:
        return (
            f"dead event {self.dead_event_id} was too long to be kept whole, so it cannot be put back; "
            "have its producer send it again"
        )


@dataclass(eq=False)
class DeliveryOver(PilothouseError):
    delivery_id: str
    state: str

    @property
    def message(self) -> str:
        return f"delivery {self.delivery_id} is {self.state}: there is nothing to be done with it"


@dataclass(eq=False)
class NotConfirmed(PilothouseError):
    expected: str
    """What has to be typed."""

    @property
    def message(self) -> str:
        return f"not confirmed: look at what this will do, then confirm with {self.expected}"


@dataclass(eq=False)
class WrongState(PilothouseError):
    kind: str
    """One of workflow, batch, emergency_stop, agent, queue, engine."""
    id: str
    state: str
    action: str
    detail: str = ""
    """What could be done instead, or why not."""

    @property
    def message(self) -> str:
        why = f"; {self.detail}" if self.detail else ""
        named = f"{self.kind.replace('_', ' ')} {self.id!r}"
        return f"cannot {self.action} {named}: it is {self.state}{why}"

    @property
    def metadata(self) -> dict[str, str]:
        return {"kind": self.kind, "id": self.id, "state": self.state, "action": self.action}


@dataclass(eq=False)
class AlreadyThere(PilothouseError):
    kind: str
    """One of rule, channel, escalation, silence."""
    field: str
    """id or name."""
    value: str

    @property
    def message(self) -> str:
        return (
            f"there is another {self.kind} with the {self.field} {self.value!r}; choose another one"
        )


@dataclass(eq=False)
class StillNamed(PilothouseError):
    kind: str
    id: str
    named_by: str
    """Who, in words: `rule error-rate, escalation on-call`."""

    @property
    def message(self) -> str:
        return (
            f"the {self.kind} {self.id!r} is named by {self.named_by}; take it out of there first"
        )


@dataclass(eq=False)
class NoSecretKey(PilothouseError):
    setting: str
    detail: str = ""

    @property
    def message(self) -> str:
        why = f" ({self.detail})" if self.detail else ""
        return (
            f"there is no key to encrypt secrets with{why}: make one by `pilothouse-server new-secret-key`"
            f" and give it to every replica as {self.setting}"
        )


@dataclass(eq=False)
class EtagMismatch(PilothouseError):
    kind: str
    id: str
    etag: str
    """The current one."""

    @property
    def message(self) -> str:
        return f"the {self.kind} changed since you read it; read it again and decide again"


@dataclass(eq=False)
class RequestIdReused(PilothouseError):
    request_id: str

    @property
    def message(self) -> str:
        return (
            f"request_id {self.request_id} was used for a request with other content; use a new one"
        )


@dataclass(eq=False)
class NotCommandOwner(PilothouseError):
    command_id: str
    source: str

    @property
    def message(self) -> str:
        return f"command {self.command_id} is not for executor {self.source!r}"


@dataclass(eq=False)
class ExecutorReplaced(PilothouseError):
    source: str

    @property
    def message(self) -> str:
        return (
            f"another stream took over the commands of executor {self.source!r}; run one executor of a name,"
            " or give each its own"
        )


@dataclass(eq=False)
class LimitExceeded(PilothouseError):
    limit: str
    """The name of the limit."""
    maximum: int
    value: int
    remedy: str = ""
    """What to do about it; then `value` is what was counted until it was too much."""

    @property
    def message(self) -> str:
        if self.remedy:
            return f"{self.limit}: at most {self.maximum:,}, and this is at least {self.value:,}; {self.remedy}"
        return f"{self.limit}: at most {self.maximum:,}, and this is {self.value:,}"

    @property
    def metadata(self) -> dict[str, str]:
        return {"limit": self.limit, "maximum": str(self.maximum), "value": str(self.value)}


@dataclass(eq=False)
class Busy(PilothouseError):
    what: str
    """In the plural."""
    maximum: int
    retry_after_us: int = 2_000_000

    @property
    def message(self) -> str:
        return f"{self.maximum} {self.what} run already; try again when one of them has ended"


@dataclass(eq=False)
class Unavailable(PilothouseError):
    what: str
    """One of log, database, redis, board, snapshot, server, alerts."""
    detail: str
    retry_after_us: int = 1_000_000

    @property
    def message(self) -> str:
        return f"{self.what}: {self.detail}"

    @property
    def reason(self) -> str:
        return _AWAY[self.what]


class Misconfigured(Unavailable):
    """A wrong address or password, missing rights, a server of the wrong kind: waiting alone does not help. At the
    start it is a reason to end."""


class LeaseLost(Exception):
    """Somebody else holds the lease by now: nothing of the transaction was kept, and this tenure is over."""

    def __init__(self, lease: str, epoch: int) -> None:
        super().__init__(f"the lease {lease} of epoch {epoch} is another replica's by now")


_REASONS: dict[type[PilothouseError], str] = {
    InvalidArgument: "INVALID_ARGUMENT",
    InvalidFilter: "INVALID_FILTER",
    InvalidPageToken: "INVALID_PAGE_TOKEN",
    InvalidResumeToken: "INVALID_RESUME_TOKEN",
    IllegalTransition: "ILLEGAL_TRANSITION",
    CommandPending: "COMMAND_PENDING",
    UnsupportedByEngine: "UNSUPPORTED_BY_ENGINE",
    NoExecutor: "NO_EXECUTOR",
    EngineConnected: "ENGINE_CONNECTED",
    CommandEnded: "COMMAND_ENDED",
    DeadEventTruncated: "DEAD_EVENT_TRUNCATED",
    DeliveryOver: "DELIVERY_OVER",
    NotConfirmed: "NOT_CONFIRMED",
    WrongState: "WRONG_STATE",
    AlertResolved: "ALERT_RESOLVED",
    AlreadyThere: "ALREADY_THERE",
    StillNamed: "STILL_NAMED",
    NoSecretKey: "NO_SECRET_KEY",
    EtagMismatch: "ETAG_MISMATCH",
    RequestIdReused: "REQUEST_ID_REUSED",
    NotCommandOwner: "NOT_COMMAND_OWNER",
    ExecutorReplaced: "EXECUTOR_REPLACED",
    Busy: "RATE_LIMITED",
    LimitExceeded: "LIMIT_EXCEEDED",
}
_AWAY = {
    "log": "LOG_UNAVAILABLE",
    "database": "DATABASE_UNAVAILABLE",
    "board": "NO_SNAPSHOT",
    "snapshot": "NO_SNAPSHOT",
    "server": "DRAINING",
    "alerts": "NO_LEADER",
    "redis": "LOG_UNAVAILABLE",
}
