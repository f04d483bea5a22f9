"""Versions of the configuration as rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection, RowMapping, Select, delete, insert, select

from pilothouse_server.adapters.sql import audit_rows, pages
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.pages import Sort
from pilothouse_server.adapters.sql.tables_config import CONFIG_VERSIONS
from pilothouse_server.domain.audit import Entry
from pilothouse_server.domain.platform import VERSIONS_KEPT, ConfigVersion
from pilothouse_server.services.configuration import (
    NOTHING,
    ConfigTransaction,
    Repeated,
    VersionPage,
)

T = TypeVar("T")

LARGEST: Final = 2**63 - 1
"""Number that a database can be asked for; the contract has room for greater ones."""

_C = CONFIG_VERSIONS.c
_NEWEST_FIRST: Final = (Sort(_C.version, descending=True, type=int),)


class SqlConfig:
    """Implements `services.configuration.ConfigStore`; keeps the newest so many versions."""

    def __init__(self, database: Database, kept: int = VERSIONS_KEPT) -> None:
        self._database = database
        self._kept = kept

    async def write(self, run: Callable[[ConfigTransaction], T]) -> T:
        return await self._database.write(lambda c: run(SqlConfigTransaction(c, self._kept)))

    async def read(self, run: Callable[[ConfigTransaction], T]) -> T:
        return await self._database.read(lambda c: run(SqlConfigTransaction(c, self._kept)))

    async def page(self, size: int, token: str) -> VersionPage:
        mark = pages.fingerprint("config-versions")
        key = pages.decode(token, mark, _NEWEST_FIRST) if token else None
        query = select(CONFIG_VERSIONS)
        rows = await self._database.read(
            lambda c: pages.rows(c, query, _NEWEST_FIRST, key, size + 1)
        )
        shown = [_version_of(row) for row in rows[:size]]
        more = len(rows) > size
        return VersionPage(shown, pages.encode(mark, [shown[-1].version]) if more else "")


class SqlConfigTransaction:
    """Implements `services.configuration.ConfigTransaction`."""

    def __init__(self, connection: Connection, kept: int) -> None:
        self._connection = connection
        self._kept = kept

    def newest(self) -> ConfigVersion:
        row = self._first(select(CONFIG_VERSIONS).order_by(_C.version.desc()).limit(1))
        return NOTHING if row is None else _version_of(row)

    def version(self, number: int) -> ConfigVersion | None:
        if number > LARGEST:
            return None
        row = self._first(select(CONFIG_VERSIONS).where(_C.version == number))
        return None if row is None else _version_of(row)

    def requested(self, request_id: str) -> Repeated | None:
        # The empty ones are in no index, and the database has to see that this is none of them.
        query = select(CONFIG_VERSIONS).where(_C.request_id == request_id, _C.request_id != "")
        row = self._first(query)
        return None if row is None else Repeated(_version_of(row), row["request_digest"])

    def add(self, version: ConfigVersion, request_id: str, digest: str) -> None:
        row = {
            "version": version.version,
            "overrides": dict(version.overrides),
            "actor": version.actor,
            "reason": version.reason,
            "create_us": version.create_us,
            "request_id": request_id,
            "request_digest": digest,
        }
        self._connection.execute(insert(CONFIG_VERSIONS).values(row))
        old = _C.version <= version.version - self._kept
        self._connection.execute(delete(CONFIG_VERSIONS).where(old))

    def record(self, entries: Sequence[Entry]) -> None:
        audit_rows.append(self._connection, entries)

    def _first(self, query: Select[*tuple[object, ...]]) -> RowMapping | None:
        return self._connection.execute(query).mappings().first()


def _version_of(row: RowMapping) -> ConfigVersion:
    return ConfigVersion(
        **{name: row[name] for name in ("version", "overrides", "actor", "reason", "create_us")}
    )
