"""What a connector is told when it is started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CeleryOptions:
    """What a connector is told."""

    broker: str
    server: str
    source: str = "celery"
    app: str = ""
    """`module:attribute` of the app, when its configuration differs in more than the broker; empty otherwise."""
    result_backend: str = ""
    """Where results are, so that the ends of tasks that nobody told can be found."""
    linger: float = 2.0
    """Seconds for which a next task is waited for before a workflow is over, where senders do not tell what they
    send."""
    look_every: float = 15.0
    """Seconds between two rounds of questions."""
