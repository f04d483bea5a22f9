"""Reading lists page by page, whatever they list: the part of both clients that does no I/O."""

from __future__ import annotations

from typing import Protocol, cast

from google.protobuf.message import Message

MAX_PAGE = 500
"""The largest page that every list of the contract gives."""


class _Paged(Protocol):
    page_size: int
    page_token: str


class _Page(Protocol):
    next_page_token: str


def rows_field(response: Message) -> str | None:
    """The name of the field of a list's answer that has what was asked for: its first repeated message."""
    fields = (
        each
        for each in response.DESCRIPTOR.fields
        if each.is_repeated and each.message_type is not None
    )
    return next((each.name for each in fields), None)


class Pages:
    """One reading of a list, at most `limit` rows of it."""

    def __init__(self, request: Message, limit: int | None) -> None:
        self._request = type(request)()
        self._request.CopyFrom(request)
        self._left = limit
        self._fixed_size = cast("_Paged", request).page_size > 0
        self.done = limit == 0
        """Whether there is nothing more to ask for."""

    def request(self) -> Message:
        """What to ask for next."""
        if not self._fixed_size and self._left is not None:
            cast("_Paged", self._request).page_size = min(self._left, MAX_PAGE)
        return self._request

    def received(self, response: Message) -> list[Message]:
        """The rows of one page."""
        field = rows_field(response)
        rows: list[Message] = list(getattr(response, field)) if field else []
        rows = rows if self._left is None else rows[: self._left]
        token = cast("_Page", response).next_page_token
        if self._left is not None:
            self._left -= len(rows)
        self.done = not token or self._left == 0
        cast("_Paged", self._request).page_token = token
        return rows
