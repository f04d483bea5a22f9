"""What becomes of one try to send a notification."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Receipt:
    """It was taken."""

    status_code: int | None = None
    """What was answered: an HTTP status, where there was one."""


class DeliveryFailed(Exception):
    """It was not taken, or nobody knows; the description is for people and holds no secret."""

    def __init__(
        self,
        description: str,
        *,
        retryable: bool,
        retry_after_us: int | None = None,
        status_code: int | None = None,
    ) -> None:
        super().__init__(description)
        self.description = description
        self.retryable = retryable
        """Whether the same may go well later."""
        self.retry_after_us = retry_after_us
        """How long the receiver asked to be left alone."""
        self.status_code = status_code
