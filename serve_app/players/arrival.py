"""
What HAProxy tells of a request: when it came, and from which range of addresses.

One header, which begins with a secret that only HAProxy and the replicas know: who reaches a replica's port past HAProxy is not
believed, and what a client sends under this name HAProxy replaces. On one machine `headcount up` makes the secret. On a cluster it follows from
the journal's URL, which every node knows already: HAProxy of one node asks the replicas of all.
"""

from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Final

ARRIVAL_HEADER: Final = b"x-headcount-arrival"
"""Holds SECRET MILLISECONDS, for pixels SECRET MILLISECONDS RANGE."""
SECRET_VARIABLE: Final = "HEADCOUNT_FRONT_DOOR_SECRET"  # noqa: S105 - its name
JOURNAL_VARIABLE: Final = "HEADCOUNT_REDIS_URL"
SECRET_CHARS: Final = 32
SALT: Final = "headcount front door "


def shared_secret(environ: Mapping[str, str], *, journal_url: str) -> bytes:
    """Return what HAProxy and the replicas share. HAProxy's wrapper works out the same in its shell (`machine/haproxy.py`)."""
    given = environ.get(SECRET_VARIABLE)
    return (given or sha256((SALT + journal_url).encode()).hexdigest()[:SECRET_CHARS]).encode()


def told_by_haproxy(said: bytes | None, secret: bytes) -> bytes:
    """Return what HAProxy says of a request, `MILLISECONDS` or `MILLISECONDS RANGE`; nothing, if it is not HAProxy who says it."""
    if said is None or not secret or not compare_digest(said[: len(secret)], secret):
        return b""
    return said[len(secret) + 1 :]
