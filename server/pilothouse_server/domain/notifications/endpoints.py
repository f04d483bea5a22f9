"""URLs of webhooks as they may be shown. Services put keys anywhere (`https://hooks.example/T01/9f86d081884c7d65`), so
whatever could be one is left out: user and password, the values of a query, and parts of the path that look like one.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_plus, urlsplit, urlunsplit

from pilothouse_server.domain.addresses import HIDDEN

_KEY = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w.~%:+=-]{16,}|[0-9]{16,}|[A-Za-z]{32,}")


SHORTEST_SECRET = 4
"""What is shorter is found in any text, and left out of none."""


def shown_url(url: str) -> str:
    """The URL without what could be secret."""
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
    except ValueError:
        return HIDDEN
    netloc = f"{HIDDEN}@{place}" if "@" in parts.netloc else place
    path = "/".join(HIDDEN if _KEY.fullmatch(part) else part for part in parts.path.split("/"))
    query = "&".join(
        f"{name}={HIDDEN}" if equals else HIDDEN
        for name, equals, _ in (pair.partition("=") for pair in parts.query.split("&") if pair)
    )
    return urlunsplit((parts.scheme, netloc, path, query, HIDDEN if parts.fragment else ""))


def hides(url: str) -> bool:
    """Whether the URL has something that is not shown."""
    return shown_url(url) != url


def secrets_of(url: str) -> set[str]:
    """All of the URL that is not shown, as it is written and as it is meant: receivers like to repeat what they were
    asked for."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return {url}
    name, _, password = parts.netloc.rpartition("@")[0].partition(":")
    hidden = [name, password, parts.fragment]
    hidden += [part for part in parts.path.split("/") if _KEY.fullmatch(part)]
    for pair in parts.query.split("&"):
        label, equals, value = pair.partition("=")
        hidden.append(value if equals else label)
    forms = (form for part in hidden for form in (part, unquote(part), unquote_plus(part)))
    return {form for form in forms if len(form) >= SHORTEST_SECRET}
