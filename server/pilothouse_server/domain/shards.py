"""Which shard of the log an event belongs to.

The rule is CRC-32 because every language has it: whoever writes to a sharded log directly can follow it.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

STREAM: Final = "workflow:events"


def shard_of(workflow_id: str, agent_id: str, shards: int) -> int:
    """CRC-32 of the UTF-8 of the workflow's id, or of the agent's where there is no workflow, modulo the shards."""
    if shards == 1:
        return 0
    return crc32((workflow_id or agent_id).encode()) % shards


def stream_of(shard: int) -> str:
    """The Redis stream of a shard: shard 0 is the one that everybody may write to."""
    return f"{STREAM}:{shard}" if shard else STREAM
