"""What is done while no server runs: taking the schema up or down, and changing the number of shards of the log."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack

from pilothouse_server import world
from pilothouse_server.adapters.postgres_leases import living
from pilothouse_server.adapters.redis_board import RedisBoard
from pilothouse_server.adapters.redis_log import RedisLog
from pilothouse_server.adapters.sql import migrate as schema
from pilothouse_server.adapters.sql.reshard import Resharded, stored_shards
from pilothouse_server.adapters.sql.reshard import reshard as divide
from pilothouse_server.config import Settings
from pilothouse_server.datadir import owned
from pilothouse_server.domain.errors import Misconfigured, Unavailable
from pilothouse_server.services.posting import part_name


async def migrate(settings: Settings, to: str) -> tuple[str, str]:
    """Takes the schema to the revision `to`, up or down; returns the revisions before and after, "" for none. Raises
    Unavailable."""
    async with AsyncExitStack() as stack:
        if not settings.database_url:
            stack.enter_context(owned(settings.data_dir))
        elif to != "head" and (alive := await living(settings.database_url)):
            told = f"replicas are running ({', '.join(alive)}); stop them before you go back"
            raise Unavailable("server", told)
        return await asyncio.to_thread(schema.move, world.database_of(settings), to)


async def reshard(settings: Settings, shards: int) -> Resharded:
    """Changes the number of shards of the log. Raises Unavailable, saying what is to be done first."""
    if not settings.redis_url:
        raise Misconfigured(
            "log", "the embedded log has one shard, always; set PILOTHOUSE_REDIS_URL"
        )
    async with AsyncExitStack() as stack:
        if not settings.database_url:
            stack.enter_context(owned(settings.data_dir))
        await asyncio.to_thread(schema.upgrade, world.database_of(settings))
        database = world.new_database(settings)
        stack.push_async_callback(database.close)
        before = await stored_shards(database)
        logs: list[list[RedisLog]] = []
        for count in (before, shards):
            made = [RedisLog(settings.redis_url, number, shards=count) for number in range(count)]
            for log in made:
                stack.push_async_callback(log.close)
            logs.append(made)
        alive = await living(settings.database_url) if settings.database_url else ()
        board = RedisBoard(settings.redis_url)
        stack.push_async_callback(board.close)
        divided = await divide(database, *logs, alive=alive)
        # What the shards were before is counted by others now. If the Redis is away it is forgotten by itself soon.
        with contextlib.suppress(Unavailable):
            await board.forget([part_name(shard) for shard in range(max(before, shards))])
        return divided
