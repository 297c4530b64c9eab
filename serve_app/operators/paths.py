"""The operators' paths that others must know of. It imports nothing: the front door is set up before Ray may be imported."""

from typing import Final

LIVE_PATH: Final = "/live"
