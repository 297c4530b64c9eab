"""
What `headcount up` and Ray's driver, its child, tell each other: one JSON object a line.

Both are of one build when they start; a driver that is started again may be of a newer one, if that was installed meanwhile. So a field
that is added has a default, and one that is not known is ignored.
"""

from typing import Final

import msgspec


class Step(msgspec.Struct, tag=True, frozen=True):
    """What the driver does from now on."""

    text: str
    done: str = ""
    """How that reads once it is done."""


class Connected(msgspec.Struct, tag=True, frozen=True):
    """Ray runs."""

    address: str


class Ready(msgspec.Struct, tag=True, frozen=True):
    """Players are answered, through the front door."""


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The driver gives up, and ends."""

    problem: str
    """One line, for the operator."""


class JournalAt(msgspec.Struct, tag=True, frozen=True):
    """The journal answers."""

    url: str
    """Password included: this goes through a pipe, never into a log."""
    instance: str
    """The installation's id."""


class Stop(msgspec.Struct, tag=True, frozen=True):
    """End everything of Ray's, in order."""


Report = Step | Connected | Ready | Failed
Order = JournalAt | Stop

_REPORTS: Final[msgspec.json.Decoder[Report]] = msgspec.json.Decoder(Report)
_ORDERS: Final[msgspec.json.Decoder[Order]] = msgspec.json.Decoder(Order)


def line(message: Report | Order) -> bytes:
    """Return a message as it is sent."""
    return msgspec.json.encode(message) + b"\n"


def report(sent: bytes) -> Report:
    """Return what the driver reported."""
    return _REPORTS.decode(sent)


def order(sent: bytes) -> Order:
    """Return what the driver was told."""
    return _ORDERS.decode(sent)
