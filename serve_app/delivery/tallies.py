"""
What one ingest replica counts, and how it reaches the exporter: every increment once.

Decides names and numbers: what was counted since the last report is frozen under the next number and offered until the
exporter says that it has it; meanwhile the next report grows. What a replica that dies had not yet reported is lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from metrics.reports import ReplicaReport
from serve_app.delivery.actor_calls import ActorAwayError
from sessions.changes import Increments, Key
from sessions.histograms import observe

REPORT_EVERY_S: Final = 1.0

Report = Callable[[ReplicaReport], Awaitable[int]]
"""Hands a report to the exporter; returns the number of the last report that it added. Raises `ActorAwayError`."""

_log = structlog.get_logger(__name__)


class Tallies:
    """Counters of one replica; plain additions, no locks: one event loop."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._open: Increments = {}
        self._offered: ReplicaReport | None = None
        self._number = 0

    def rejected(self, endpoint: str, reason: str, *, times: int = 1) -> None:
        """Count a request, or an event, that was not taken; or several at once."""
        if times:
            key: Key = ("rejected", endpoint, reason)
            self._open[key] = self._open.get(key, 0) + times

    def dropped(self, endpoint: str, fields: Iterable[str]) -> None:
        """Count what was dropped of a request that was taken, or taken as something else."""
        for name in fields:
            key: Key = ("dropped_fields", endpoint, name)
            self._open[key] = self._open.get(key, 0) + 1

    def reports(self, player: str, outcomes: Iterable[tuple[str, int]]) -> None:
        """Count reports of a player that reports by itself, of which no session hears."""
        for outcome, count in outcomes:
            key: Key = ("cmcd_reports", player, outcome)
            self._open[key] = self._open.get(key, 0) + count

    def dropped_keys(self, player: str, keys: Iterable[str]) -> None:
        """Count keys of such reports whose value was none, or not plausible."""
        for name in keys:
            key: Key = ("cmcd_dropped_keys", player, name)
            self._open[key] = self._open.get(key, 0) + 1

    def acknowledged(self, endpoint: str, seconds: float) -> None:
        """Count a request that was taken, and how long that took."""
        observe(self._open, "ingest_seconds", max(0.0, seconds), endpoint)

    def report(self) -> ReplicaReport | None:
        """Return what to offer: the same report until it was taken. None: nothing is new."""
        if self._offered is None and self._open:
            self._number += 1
            self._offered = ReplicaReport(self._replica, self._number, self._open)
            self._open = {}
        return self._offered

    def taken(self, number: int) -> None:
        """Note the number of the last report that the exporter has added."""
        if self._offered is not None and number >= self._offered.number:
            self._offered = None


async def report_forever(tallies: Tallies, send: Report) -> None:
    """Offer what was counted, every second. An exporter that is away gets it when it is back."""
    away = False
    while True:
        await asyncio.sleep(REPORT_EVERY_S)
        report = tallies.report()
        if report is None:
            continue
        try:
            tallies.taken(await send(report))
        except ActorAwayError as error:
            if not away:
                _log.warning("the exporter is away; what is counted here waits", error=str(error))
            away = True
        else:
            away = False
