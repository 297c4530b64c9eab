"""
What is connected: players that report by themselves, one row each, with what is wrong and what is to be done about it.

Everything in it is in the scrape too; here it is put together for whoever has just configured a player. It counts nothing itself.
"""

from collections.abc import Mapping
from typing import Final

from metrics import catalog
from metrics.labels import OTHER
from metrics.totals import Totals
from sessions.session import UNKNOWN

REMEDIES: Final = {
    "without_sid": "its reports name no session: add `sid` to the target's `enabledKeys`, or `sid=` to its URL",
    "unknown_token": "its target's URL has no valid token: add `access_token=` with the ingest token, or a JWT",
    "newer_version": "its reports are of a newer CMCD than version 2 and are left alone: set its version to 2",
    "unreadable": "its bodies cannot be read: they must be CMCD records, one a line, at most 256 KiB, 500 records and 8 KiB each",
    "late": "its reports come more than a minute late: send fewer of them in one post (`batchSize`)",
    "overloaded": "the tracker could not take its reports when they came: see `headcount status`",
}
"""By what became of reports."""
BLIND: Final = "it never reports what it does: it counts as watching, and in no figure of quality (Shaka's minified builds; use its debug build or our client library)"
LOST: Final = "some of its reports never came: a page that goes loses what waits in a batch, so send them one by one"
DROPPED: Final = "some values of its keys are impossible, and were left out"


def told(totals: Totals) -> list[dict[str, object]]:
    """Return one row for each player, the most sessions first; ready for JSON."""
    rows: dict[str, dict[str, object]] = {}
    for (player, outcome), count in _counted(totals, "cmcd_reports").items():
        if count:
            row = _row(rows, player)
            row[outcome] = int(count)
    for (player,), count in _counted(totals, "cmcd_lost_reports").items():
        if count:
            _row(rows, player)["lost"] = int(count)
    for (player, key), count in _counted(totals, "cmcd_dropped_keys").items():
        if count:
            dropped = _row(rows, player)["dropped_keys"]
            assert isinstance(dropped, dict)  # noqa: S101 - as made below
            dropped[key] = int(count)
    for name, dimension in (("sessions", "player"), ("blind", "blind_player")):
        for player, count in totals.dimension(dimension):
            if count:
                _row(rows, player)[name] = count
    for row in rows.values():
        row["remedies"] = _remedies(row)
    return sorted(rows.values(), key=_size, reverse=True)


def _counted(totals: Totals, increments: str) -> Mapping[tuple[str, ...], float]:
    return totals.counted.counters(catalog.INCREMENTS[increments])


def _row(rows: dict[str, dict[str, object]], label: str) -> dict[str, object]:
    row = rows.get(label)
    if row is None:
        player, _, version = label.replace("/", "@", 1).partition("@")
        row = rows[label] = {
            "player": player,
            "version": version or None,
            "sessions": 0,
            "blind": 0,
            "taken": 0,
            "repeated": 0,
            "lost": 0,
            **dict.fromkeys(REMEDIES, 0),
            "dropped_keys": {},
        }
    return row


def _remedies(row: Mapping[str, object]) -> list[str]:
    found = [text for outcome, text in REMEDIES.items() if row[outcome]]
    found += [text for name, text in (("blind", BLIND), ("lost", LOST)) if row[name]]
    dropped = row["dropped_keys"]
    return [*found, f"{DROPPED}: {', '.join(sorted(dropped))}"] if isinstance(dropped, dict) and dropped else found


def _size(row: Mapping[str, object]) -> tuple[bool, int, int]:
    sessions, taken = row["sessions"], row["taken"]
    assert isinstance(sessions, int)  # noqa: S101 - as made above
    assert isinstance(taken, int)  # noqa: S101
    return row["player"] not in (UNKNOWN, OTHER), sessions, taken
