"""What an engine says of those who do its work, and of the queues it takes that work from.

Like the reports on runs (`reporting`), each method makes one event and hands it to `report`, which returns at once.
What is said here is a state that lasts: an engine that is started again says it again, so that a server which knows
nothing of it learns it.
"""

from __future__ import annotations

from pilothouse._parts import Report, clip, command_id
from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.events_pb2 import AgentLoad, Event, EventType


class ReportedAgent:
    """One agent that does the engine's work.

        registered ──▶ draining ──▶ activated (or registered)
             └────────────┴───────▶ offline ──▶ registered

    A command on it is EFFECTIVE by the event that shows it: `draining(command=…)`, `activated(command)`,
    `resized(size, command=…)`, and for a restart `registered(command=…)` once it is there again.
    """

    def __init__(
        self, report: Report, agent_id: str, *, agent_type: str = "", capacity: int = 0
    ) -> None:
        self._report = report
        self.id = agent_id
        """Its id."""
        self.agent_type = agent_type
        """The kind of agent."""
        self.capacity = capacity
        """Tasks it can have at once; 0 is not known."""
        self.active = 0
        """Tasks in hand, sent with each heartbeat. A task used as a context manager counts itself."""
        self.workflow_id = ""
        """The workflow of the task that it took up last; empty when it has none in hand."""
        self.task_id = ""
        """That task."""
        self.is_draining = False
        """Whether it was last said to take nothing new."""
        self.is_offline = True
        """Whether it has not been reported, or said goodbye and nothing since. An executor beats for it otherwise."""

    def registered(self, message: str = "", *, command: Command | str | None = None) -> None:
        """It is there, and takes work. `command` is the restart that this ends."""
        self.is_draining = False
        self._tell(EventType.EVENT_TYPE_AGENT_REGISTERED, message, command)

    def heartbeat(self, active: int | None = None) -> None:
        """It is still there, with `active` tasks in hand (None: as last said)."""
        if active is not None:
            self.active = active
        self._beat(None, "")

    def take_up(self, workflow_id: str, task_id: str) -> None:
        """It works on one more task. Said at once, not with the next heartbeat."""
        self.active += 1
        self.workflow_id, self.task_id = workflow_id, task_id
        self.heartbeat()

    def put_down(self, task_id: str) -> None:
        """It works on that task no more."""
        self.active = max(self.active - 1, 0)
        if task_id == self.task_id or not self.active:
            self.workflow_id = self.task_id = ""
        self.heartbeat()

    def draining(self, message: str = "", *, command: Command | str | None = None) -> None:
        """It takes nothing new, and finishes what it has. Heartbeats do not change that; `activated()` does.

        An engine that is started again with an agent that was draining says this in place of `registered()`, which
        would say that the agent takes work.
        """
        self.is_draining = True
        self._tell(EventType.EVENT_TYPE_AGENT_DRAINING, message, command)

    def activated(self, command: Command | str | None = None, message: str = "") -> None:
        """It was draining, and takes work again."""
        self.registered(message, command=command)

    def resized(
        self, capacity: int, *, command: Command | str | None = None, message: str = ""
    ) -> None:
        """It can have `capacity` tasks at once from now on. What it has above that it finishes."""
        self.capacity = capacity
        self._beat(command, message)

    def offline(self, message: str = "") -> None:
        """It says goodbye; `message` says why."""
        self._tell(EventType.EVENT_TYPE_AGENT_OFFLINE, message, None)
        self.is_offline = True

    def _beat(self, command: Command | str | None, message: str) -> None:
        event = self._event(EventType.EVENT_TYPE_AGENT_HEARTBEAT, message, command)
        event.workflow_id, event.task_id = self.workflow_id, self.task_id
        self._report(event)

    def _tell(self, kind: EventType.ValueType, message: str, command: Command | str | None) -> None:
        self._report(self._event(kind, message, command))

    def _event(
        self, kind: EventType.ValueType, message: str, command: Command | str | None
    ) -> Event:
        self.is_offline = False
        return Event(
            type=kind,
            agent_id=self.id,
            agent_type=self.agent_type,
            load=AgentLoad(active=self.active, capacity=self.capacity),
            message=clip(message),
            command_id=command_id(command),
        )


class ReportedQueue:
    """One queue that the engine takes work from; with an empty name, all that it starts, or all of one type.

    Say `active()` or `paused()` of each when the engine starts, and whenever it changes.
    """

    def __init__(
        self, report: Report, name: str = "", *, workflow_type: str = "", agent_type: str = ""
    ) -> None:
        """Raises ValueError for a queue that has a name and a type: what is in it, it holds as a whole."""
        if name and (workflow_type or agent_type):
            raise ValueError("only with an empty name can a queue be narrowed to a type")
        self._report = report
        self.name = name
        """Its name; empty for all that the engine starts."""
        self.workflow_type = workflow_type
        """Only workflows of this type; empty is all."""
        self.agent_type = agent_type
        """Only what agents of this type would get; empty is all."""

    def active(self, command: Command | str | None = None, message: str = "") -> None:
        """The engine takes work from it. `command` is the command that this answers."""
        self._tell(EventType.EVENT_TYPE_QUEUE_ACTIVE, command, message)

    def paused(self, command: Command | str | None = None, message: str = "") -> None:
        """The engine takes nothing new from it; what it has taken goes on."""
        self._tell(EventType.EVENT_TYPE_QUEUE_PAUSED, command, message)

    def _tell(self, kind: EventType.ValueType, command: Command | str | None, message: str) -> None:
        self._report(
            Event(
                type=kind,
                queue=self.name,
                workflow_type=self.workflow_type,
                agent_type=self.agent_type,
                message=clip(message),
                command_id=command_id(command),
            )
        )
