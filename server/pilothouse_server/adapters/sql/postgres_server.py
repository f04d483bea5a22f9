"""How a PostgreSQL server is reached, and what its refusals mean to whoever runs Pilothouse.

Settings that keep one stuck process from stopping the others are made on each connection rather than in the server's
configuration, so that they hold wherever the database is.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import conninfo
from sqlalchemy.exc import DBAPIError

from pilothouse_server.domain.addresses import scrubbed, shown
from pilothouse_server.domain.errors import Misconfigured, Unavailable

OLDEST: Final = 14
"""The oldest major version that has what we use."""

SCHEMES: Final = ("postgresql://", "postgres://", "postgresql+psycopg://")

_HOW: Final = (
    "write postgresql://user:password@host:5432/database, with each character of the password that is not a letter or "
    "a digit percent-encoded (@ as %40, / as %2F)"
)

_NETWORK: Final = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Finds out within seconds that the other side has gone without a word. Of less weight than the URL's own."""


def judged(url: str) -> str:
    """The URL as libpq wants it. Raises Misconfigured when it cannot be one, without showing what may be a password:
    one that is not encoded is taken for a host, a port or a database."""
    for scheme in SCHEMES:
        if url.startswith(scheme):
            break
    else:
        raise Misconfigured(
            "database", f"{shown(url)!r} is no URL of a PostgreSQL database; {_HOW}"
        )
    plain = f"postgresql://{url.removeprefix(scheme)}"
    address = plain.partition("?")[0]
    try:
        parameters = conninfo.conninfo_to_dict(plain)
        ports = str(parameters.get("port") or "").split(",")
        wrong = (
            address.count("@") > 1 or "@" in address.removeprefix("postgresql://").partition("/")[2]
        )
        if wrong or not all(port == "" or port.isdecimal() for port in ports):
            raise Misconfigured("database", f"its URL cannot be understood; {_HOW}")
    except psycopg.ProgrammingError:
        raise Misconfigured("database", f"its URL cannot be understood; {_HOW}") from None
    if not parameters.get("dbname"):
        raise Misconfigured("database", f"{shown(url)} names no database; {_HOW}")
    return plain


def connect(url: str, settings: dict[str, str]) -> psycopg.Connection[Any]:
    """A connection with these settings, in which each statement is committed unless a transaction is begun. Raises
    Unavailable."""
    given = conninfo.conninfo_to_dict(url)
    ours = {name: value for name, value in _NETWORK.items() if name not in given}
    told = conninfo.make_conninfo(
        url, application_name="pilothouse", client_encoding="utf8", **ours
    )
    try:
        connection = psycopg.connect(told, autocommit=True)
    except psycopg.Error as error:
        raise refused(error, url) from None
    try:
        _judge(connection, url)
        made = ", ".join(["set_config(%s, %s, false)"] * len(settings))
        values = [word for setting in settings.items() for word in setting]
        connection.execute(f"SELECT {made}".encode(), values)
    except psycopg.Error as error:
        connection.close()
        raise refused(error, url) from None
    except Unavailable:
        connection.close()
        raise
    return connection


def _judge(connection: psycopg.Connection[Any], url: str) -> None:
    version = connection.info.server_version
    if version // 10_000 < OLDEST:
        raise Misconfigured(
            "database",
            f"PostgreSQL {version // 10_000} at {shown(url)} is too old; {OLDEST} or a newer one is needed",
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise Misconfigured(
            "database",
            f"{shown(url)} has the encoding {encoding}, which cannot hold every text; "
            "make one with ENCODING 'UTF8' TEMPLATE template0",
        )


def refused(error: psycopg.Error, url: str) -> Unavailable:
    """Why there is no connection. What the server says before it knows who asks has no code, only words."""
    said = scrubbed(_first_line(error), url)
    for words, why, wrong in _REFUSALS:
        if any(each in said for each in words):
            kind = Misconfigured if wrong else Unavailable
            return kind("database", f"{shown(url)}: {why} ({said})")
    return Unavailable("database", f"cannot connect to {shown(url)}: {said}")


_REFUSALS: Final = (
    (
        ("password authentication failed", "no password supplied", "no pg_hba.conf entry", "authentication failed"),
        "the server does not let this user in; correct user and password in the URL, or allow it in pg_hba.conf",
        True,
    ),
    (
        ("role ",),
        "the server does not know this user, or does not let it log in; create it, or correct the URL",
        True,
    ),
    (
        ("permission denied for database",),
        "this user may not connect to the database; grant it CONNECT",
        True,
    ),
    (
        ("database ",),
        "there is no such database, or it takes no connections; create it, or correct the URL",
        True,
    ),
    (
        ("too many clients", "remaining connection slots", "too many connections"),
        "the server has no connection left; raise its max_connections, or end what holds them",
        False,
    ),
    (
        ("starting up", "shutting down", "recovery", "not accepting connections", "not yet accepting"),
        "the server is starting or shutting down",
        False,
    ),
    (
        ("refused", "No such file or directory"),
        "nothing listens there; start PostgreSQL, or correct host and port in the URL",
        False,
    ),
    (
        ("failed to resolve", "could not translate", "Name or service"),
        "there is no such host; correct it in the URL",
        False,
    ),
    (
        ("timeout expired", "timed out"),
        "the server does not answer",
        False,
    ),
    (
        ("does not support SSL", "SSL", "certificate"),
        "no encrypted connection can be made; correct sslmode and the certificates in the URL",
        True,
    ),
)  # fmt: skip
"""Words of a refusal (any of them), what is to be done about it, and whether it is a matter of configuration.
The first that fits counts."""


def stood_still(error: BaseException) -> bool:
    """Whether the server ended the connection because its transaction stood still: it had not heard of the commit."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, psycopg.errors.IdleInTransactionSessionTimeout)


def unavailable(error: psycopg.Error) -> Unavailable | None:
    """What a refusal of a statement says to those who asked for more than they get; None when the statement itself is
    wrong, which waiting does not mend."""
    state = error.sqlstate or ""
    said = _first_line(error)
    for begin, why, wrong in _STATES:
        if state.startswith(begin):
            kind = Misconfigured if wrong else Unavailable
            return kind("database", f"{why} ({said})" if why else said)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError):
        return Unavailable("database", said)
    return None


_STATES: Final = (
    ("53100", "its disk is full; nothing of this was kept", False),
    ("53200", "the server is out of memory", False),
    ("53300", "the server has no connection left; raise its max_connections", False),
    ("25006", "it only reads: it is a standby, or was set so; give the URL of the primary", False),
    ("57014", "this took too long; ask for less", False),
    ("55P03", "something else holds a lock for too long; see pg_stat_activity", False),
    ("25P03", "the connection stood still within a transaction, so the server ended it", False),
    ("57P0", "the server is shutting down, or an administrator ended the connection", False),
    ("40", "others changed the same rows, again and again", False),
    ("42501", "this user may not do that; it must own the tables, as the one who migrated does", True),
    ("42P01", "the schema is not there, or not the one of this version; start the server anew, which migrates", True),
    ("XX001", "a page of it is damaged; restore it from a backup", False),
    ("58", "the server cannot read or write its files", False),
)  # fmt: skip
"""How a code begins, and what it means; "" is what the server says."""


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
