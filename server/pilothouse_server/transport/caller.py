"""Who calls. Nobody is authenticated yet, so everybody is "anonymous": a name that claims nothing."""

from __future__ import annotations

from typing import Any

import grpc

ANONYMOUS = "anonymous"


def actor(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The name that acts are recorded under."""
    del context
    return ANONYMOUS
