"""Ids that are made from names, and what a request that is repeated is known by."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

LONGEST = 64
"""Bytes of an id."""


def id_of(name: str, taken: Collection[str], kind: str) -> str:
    """An id that reads like the name and is none of those that are taken."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[: LONGEST - 4].rstrip("-") or kind
    found, number = stem, 1
    while found in taken:
        number += 1
        found = f"{stem}-{number}"
    return found


def digest_of(name: str, document: Mapping[str, Any]) -> str:
    """The same for the same content."""
    text = json.dumps([name, document], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
