"""How the platform behaves: what can be changed while it runs. Times in microseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlatformConfig:
    """What is in force: every value is there."""

    agent_offline_after_us: int = 30_000_000
    """Without a heartbeat for longer an agent is offline."""
    engine_silent_after_us: int = 60_000_000
    """Without any report for longer an engine is silent."""
    accept_us: int = 60_000_000
    """From a command's request until an executor took it."""
    effect_us: int = 3_600_000_000
    """From the accept until the engine's event shows the effect."""
    batch_rate: float = 1_000.0
    """Commands a second that a batch gives unless it says otherwise."""
    batch_limit: int = 20_000
    """Workflows in one batch at most."""
    dispatch_limit: int = 10_000
    """Commands that one engine is given before it ended others."""
    subscribe_interval_us: int = 5_000_000
    """Between two snapshots to a subscriber that did not say."""
    idle_tick_us: int = 1_000_000
    """Between two ticks of the aggregator while nothing happens."""
