"""What the modules of a project can be, and how each can be wrong.

A defect is a change of a template's text: a pattern, and what stands there instead. Those without a part fit every
module.
"""

from __future__ import annotations

PURE = ("intervals", "graph", "money", "slugs", "sampling", "bloom")
"""Modules whose tests compute."""

TIMED = ("ttl_cache", "rate_limit", "backoff", "write_log")
"""Modules whose tests wait: for the real clock, a socket or the disk."""

CHANCY = ("sampling", "bloom")
"""Modules whose tests can be written so that they fail for some seeds."""

SLOPPY = ("missing_colon", "undeclared_import", "literal_identity", "bare_except")
"""Defects of any module that are found before its tests run."""

SERVICE = ("unhandled_key", "unbound_name", "stale_version")
"""Defects of the service or its entry point."""

DEFECTS: dict[tuple[str, str], tuple[str, str]] = {
    ("", "missing_colon"): (r"^(\s*def .*):$", r"\1"),
    ("", "undeclared_import"): (r"^(from __future__ .*)$", r"\1\n\nimport orjson"),
    ("", "literal_identity"): (r"\Z", '\nSTRICT = __name__ is "__main__"\n'),
    ("", "bare_except"): (
        r"\Z",
        "\n\ndef _quietly(action) -> None:\n    try:\n        action()\n    except:\n        pass\n",
    ),
    ("intervals", "wrong"): (r"begin <= merged", "begin < merged"),
    ("graph", "wrong"): (
        r"if not needed:\n +ready",
        "if needed is not None:\n                    ready",
    ),
    ("money", "wrong"): (r"cents - sum\(shares\)", "cents - sum(shares) - 1"),
    ("slugs", "wrong"): (r"\.lower\(\)", ""),
    ("sampling", "wrong"): (r"bisect_right", "bisect_left"),
    ("bloom", "wrong"): (r"self\._field \|= 1", "self._field ^= 1"),
    ("ttl_cache", "wrong"): (r"popitem\(last=False\)", "popitem()"),
    ("rate_limit", "wrong"): (r"float\(burst\)", "0.0"),
    ("backoff", "wrong"): (r"rng\.uniform\(0\.5, 1\)", "rng.uniform(0.5, 1.5)"),
    ("write_log", "wrong"): (r"self\._file\.truncate\(whole\)", "self._file.seek(whole)"),
    ("test_sampling", "flaky"): (r"^TOLERANCE = .*$", "TOLERANCE = 0.009"),
    ("test_bloom", "flaky"): (r"^FALSE_POSITIVES_ALLOWED = .*$", "FALSE_POSITIVES_ALLOWED = 12"),
    ("service", "unhandled_key"): (r"if name not in ITEMS:", "if name is None:"),
    ("service", "unbound_name"): (r"print\(server\.server_address\[1\]", "print(server_address[1]"),
    ("main", "stale_version"): (r"^from \w+ import __version__$", '__version__ = "0.0.0"'),
}
