"""A token bucket: how often, and how much at once. The clock is an argument."""


class TokenBucket:
    """Holds at most `burst` tokens, and gets `rate` a second."""

    __slots__ = ("_burst", "_rate", "_time", "_tokens")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._time = now

    def take(self, now: float) -> bool:
        """Take one token; False when there is none."""
        self._tokens = min(self._burst, self._tokens + (now - self._time) * self._rate)
        self._time = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
