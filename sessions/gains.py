"""
What the folding of inputs added, by stream, until the slot's next write takes it (`outcomes.add_gains`).

Here and nowhere else an input's seconds and counts are final, and so this is where they are counted.
"""

from collections import defaultdict


class Gain:
    """
    What the folding of inputs added to one stream's counters, over all sessions.

    The attributes of the class are its zeros: one is made per stream and commit, and most of them gain nothing but time.
    """

    playing_s = 0.0
    rebuffering_s = 0.0
    seek_rebuffering_s = 0.0
    paused_s = 0.0
    ad_s = 0.0
    bits = 0.0
    bitrate_s = 0.0
    stalls = 0
    seek_stalls = 0
    """How many of `stalls` a seek caused."""
    switches = 0
    plays = 0
    startups: tuple[tuple[float, float], ...] = ()
    """(started_at, first_frame_at) of each session of which both became known; the second without the advertisements before it."""
    happened = False
    """True once anything but time was gained. That is rare, so readers check this before they look at the counts."""


class Gains(defaultdict[str, Gain]):
    """Gains by stream id; a stream that was not there begins at zero."""

    def __init__(self) -> None:
        super().__init__(Gain)
