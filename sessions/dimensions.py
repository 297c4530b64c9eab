"""
The dimensions: what sessions are counted by, beside their state. Each is declared once.

These use it: the keys of the audience (`roster.py`), the values that a process keeps once (`session.py`), the rule which input may
overwrite which (`tracker.py`), what a session is said to be about (`story.py`), the gauges with their labels (`metrics/catalog.py`), and
the panels of the dashboard. A new one is a row here, an attribute of `Session`, and a field of the event that names it.
"""

from typing import Final, NamedTuple

from sessions.window import SAYS_CHANNEL, SAYS_CREATOR, SAYS_MORE, SAYS_PROGRAM, SAYS_QUALITY


class Dimension(NamedTuple):
    """One of them."""

    name: str
    """In the keys of the audience, and the label of its gauge."""
    attribute: str
    """Of a session that has it. None there: it is not counted by this one."""
    says: int
    """By which bit an input tells that it names it; 0: it is a part of the session's name."""
    text: str
    """Goes on where "active sessions" leaves off."""


STREAM: Final = "stream_id"
"""The attribute that is counted by its states too, and whose time stays where it was spent: it has rules of its own."""
DIMENSIONS: Final = (
    Dimension("channel", "channel_id", SAYS_CHANNEL, "by channel"),
    Dimension("creator", "creator_id", SAYS_CREATOR, "by creator"),
    Dimension("program", "program_id", SAYS_PROGRAM, "by the programme that is on"),
    Dimension("platform", "platform", SAYS_MORE, "by the player's platform"),
    Dimension("country", "country", SAYS_MORE, "by the country that the player names"),
    Dimension("quality", "quality", SAYS_QUALITY, "by the quality that is shown"),
    Dimension("connection", "connection_type", SAYS_MORE, "by kind of connection"),
    Dimension("pullzone", "pullzone", 0, "of beacons, by pull zone"),
    Dimension("player", "player", 0, "of players that report by themselves, by player"),
    Dimension("blind_player", "blind_player", 0, "that play, and whose player never says what it does, by player"),
)
OF_PLAYERS: Final = (STREAM, *(dimension.attribute for dimension in DIMENSIONS if dimension.says))
"""Attributes that are `unknown` until the player says them."""
FROM_START: Final = tuple(dimension.attribute for dimension in DIMENSIONS if dimension.says == SAYS_MORE)
"""Those that only a start names."""
