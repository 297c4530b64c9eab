"""The only reader of time. Everything else is told what time it is."""

import time


def now() -> float:
    """Return the server's time, in seconds since the epoch."""
    return time.time()


def monotonic() -> float:
    """Return seconds that only grow, for measuring how long something took."""
    return time.monotonic()
