"""The engine that silences are for."""

from __future__ import annotations

from tests.alerts.conftest import towers

__all__ = ["towers"]
