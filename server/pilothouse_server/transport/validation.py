"""Requests are judged by the rules written in the contract, and by nothing else, before a servicer sees them."""

from __future__ import annotations

from pilothouse_server.wire.rules import path_of, violations_of

__all__ = ["path_of", "violations_of"]
