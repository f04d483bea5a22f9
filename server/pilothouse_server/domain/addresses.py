"""Addresses of servers as they may be shown: whatever could be a password is left out, rather too much than too little.

URLs are taken apart by hand, because those that are wrong are the ones that are shown, and a parser that refuses
a URL would leave nothing to show, or all of it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"

_SECRET_PARAMETER = re.compile(
    r"(?P<name>\b\w*(?:password|passwd|secret|token)\w*\s*=\s*)(?:'[^']*'|\"[^\"]*\"|[^&\s]*)",
    re.IGNORECASE,
)
_USERS_ALONE_ARE_NAMES = ("postgres", "postgresql")
"""Schemes of servers where a user without a password is usual. Elsewhere it is often a password in the wrong place."""


def shown(url: str) -> str:
    """The URL (or the key=value form of PostgreSQL) without its secrets: `redis://:***@host:6379/0`."""
    scheme, found, rest = url.partition("://")
    if not found:
        scheme, rest = "", url
    user, at, place = rest.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        if not colon and scheme.partition("+")[0].lower() not in _USERS_ALONE_ARE_NAMES:
            name = HIDDEN
        rest = f"{name}:{HIDDEN}@{place}" if colon else f"{name}@{place}"
    return scheme + found + _SECRET_PARAMETER.sub(lambda match: match["name"] + HIDDEN, rest)


def scrubbed(text: str, *urls: str) -> str:
    """What somebody else said, as a driver's error, without the secrets of these URLs."""
    for url in urls:
        if not url:
            continue
        text = text.replace(url, shown(url))
        for secret in sorted(_secrets(url), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
    return text


def _secrets(url: str) -> set[str]:
    """Each secret of the URL as it is written and as it is meant."""
    _, found, rest = url.partition("://")
    user, at, _ = (rest if found else url).rpartition("@")
    name, colon, password = user.partition(":")
    written = [password if colon else ""]
    if at and not colon and f"{HIDDEN}@" in shown(url):
        written.append(name)
    written += [
        match[0].removeprefix(match["name"]).strip("'\"")
        for match in _SECRET_PARAMETER.finditer(url)
    ]
    return {form for secret in written if secret for form in (secret, unquote(secret))}
