"""Parts as bytes, from the reader of a shard to whoever merges them.

A message is a head and then one piece for each series and agent, each with its length before it. The bytes of a piece
that did not change are used again by the encoder, and known again by the decoder, which gives the same object for them:
so what is merged anew is what changed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Generator, Mapping
from typing import Any, Final, TypeVar

from pilothouse_server.domain.metrics.part import (
    AgentPart,
    Key,
    Names,
    PartMoment,
    SeriesPart,
    ShardPart,
)
from pilothouse_server.domain.metrics.series import PackedCell
from pilothouse_server.domain.metrics.snapshot import Dimension, ReaderCounters, Totals

VERSION: Final = b"PHP1"
"""The first bytes. Replicas of different versions do not read each other's parts."""

_LENGTH = struct.Struct(">I")
_EVERY = 32
"""Pieces between two chances for others to run."""

_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


class NotAPart(ValueError):
    """These bytes are not a part, or one of another version."""


class PartEncoder:
    """Encodes the parts of one shard, one after another."""

    def __init__(self) -> None:
        self._series: dict[Key, tuple[SeriesPart, bytes]] = {}
        self._agents: dict[str, tuple[AgentPart, bytes]] = {}

    def steps(self, part: ShardPart) -> Generator[None, None, bytes]:
        """Yields now and then, and returns the bytes."""
        series: dict[Key, tuple[SeriesPart, bytes]] = {}
        agents: dict[str, tuple[AgentPart, bytes]] = {}
        pieces = [VERSION, _piece(_head(part))]
        yield from _renew(part.series, self._series, series, pieces)
        yield from _renew(part.agents, self._agents, agents, pieces)
        self._series, self._agents = series, agents
        return b"".join(pieces)


_K = TypeVar("_K")
_V = TypeVar("_V", SeriesPart, AgentPart)


def _renew(
    values: Mapping[_K, _V],
    before: Mapping[_K, tuple[_V, bytes]],
    after: dict[_K, tuple[_V, bytes]],
    pieces: list[bytes],
) -> Generator[None, None, None]:
    made = 0
    for key, value in values.items():
        known = before.get(key)
        if known is None or known[0] is not value:
            known = (value, _piece(value))
            made += 1
            if made % _EVERY == 0:
                yield
        after[key] = known
        pieces.append(known[1])


def _head(part: ShardPart) -> list[Any]:
    moment = part.moment
    return [
        part.shard, part.sequence, part.start_us,
        [
            moment.as_of_us, moment.cursor, moment.reader_lag_us, moment.caught_up,
            moment.tick_interval_us, moment.events_per_second,
        ],
        part.since_us, part.totals, part.reader,
        [[dimension, names.refused, names.all_unknown] for dimension, names in part.names.items()],
        len(part.series), len(part.agents),
    ]  # fmt: skip


def _piece(value: object) -> bytes:
    encoded = _encode(value).encode()
    return _LENGTH.pack(len(encoded)) + encoded


class PartDecoder:
    """Decodes the parts of one shard, one after another."""

    def __init__(self) -> None:
        self._series: dict[bytes, SeriesPart] = {}
        self._agents: dict[bytes, AgentPart] = {}

    def steps(self, encoded: bytes) -> Generator[None, None, ShardPart]:
        """Yields now and then, and returns the part. Raises NotAPart."""
        try:
            return (yield from self._read(encoded))
        except (ValueError, TypeError, IndexError, RecursionError, struct.error) as error:
            raise NotAPart(str(error)) from error

    def _read(self, encoded: bytes) -> Generator[None, None, ShardPart]:
        if not encoded.startswith(VERSION):
            raise NotAPart("it is of another version")
        head, place = _cut(encoded, len(VERSION))
        (
            shard, sequence, start_us, moment, since_us, totals, reader, names, series_count, agents_count,
        ) = json.loads(head)  # fmt: skip
        series: dict[bytes, SeriesPart] = {}
        agents: dict[bytes, AgentPart] = {}
        for number in range(series_count):
            piece, place = _cut(encoded, place)
            series[piece] = self._series.get(piece) or _series_of(piece)
            if number % _EVERY == 0:
                yield
        for number in range(agents_count):
            piece, place = _cut(encoded, place)
            agents[piece] = self._agents.get(piece) or AgentPart(*json.loads(piece))
            if number % _EVERY == 0:
                yield
        self._series, self._agents = series, agents
        return ShardPart(
            shard=shard,
            sequence=sequence,
            start_us=start_us,
            moment=PartMoment(*moment),
            since_us=since_us,
            totals=Totals(*totals),
            reader=ReaderCounters(*reader),
            names={Dimension(d): Names(tuple(refused), every) for d, refused, every in names},
            series={(part.dimension, part.name): part for part in series.values()},
            agents={agent.agent_id: agent for agent in agents.values()},
        )


def _cut(encoded: bytes, place: int) -> tuple[bytes, int]:
    """The piece that begins there, and where the next one does."""
    (length,) = _LENGTH.unpack_from(encoded, place)
    begin = place + _LENGTH.size
    if begin + length > len(encoded):
        raise NotAPart("it is cut off")
    return encoded[begin : begin + length], begin + length


def _series_of(piece: bytes) -> SeriesPart:
    dimension, name, live, windows = json.loads(piece)
    return SeriesPart(
        Dimension(dimension), name, tuple(live), tuple(_cell_of(cell) for cell in windows)
    )


def _cell_of(cell: list[Any]) -> PackedCell:
    started, completed, failed, cancelled, durations = cell
    return (started, completed, failed, cancelled, tuple(durations))
