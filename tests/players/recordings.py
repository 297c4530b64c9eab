"""What is beside this file, as posts: see its README."""

import json
from pathlib import Path
from typing import Final, NamedTuple

from serve_app.cmcd.mapper import map_records, target_of
from serve_app.cmcd.reader import read_records
from sessions.changes import Receipt
from sessions.events import Report, Reports
from sessions.session import Session
from sessions.tracker import Tracker

HERE: Final = Path(__file__).parent


class Post(NamedTuple):
    """One request that a player made to its target."""

    at_ms: int
    body: bytes


def posts(name: str) -> list[Post]:
    """Return the posts of a recording, in the order of their arrival."""
    lines = [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return [Post(line["at_ms"], line["body"].encode()) for line in lines if line.get("method") == "POST"]


def notes(name: str) -> list[tuple[int, str]]:
    """Return what was done to the player, and what its element told."""
    lines = [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return [(line["at_ms"], line["note"]) for line in lines if line["mode"] == "note"]


def reports(post: Post, *, url: dict[str, str] | None = None, query: bytes = b"", now: float = 0.0) -> list[Reports]:
    """Return what a post is to the sessions that it names."""
    return map_records(read_records(post.body), url or {}, target=target_of(query), now=now).reports


def began_at(name: str) -> float:
    """Return when the page of a recording began, by its player's clock."""
    first = posts(name)[0]
    return min(report.at for each in reports(first, url={"sid": "any"}) for report in each.reports) - first.at_ms / 1_000


def hear(tracker: Tracker, post: Post, *, now: float, url: dict[str, str] | None = None) -> list[Receipt]:
    """Let a tracker take a post."""
    return [tracker.receive(each, now=now) for each in reports(post, url=url, now=now)]


def play(tracker: Tracker, name: str, *, url: dict[str, str] | None = None, until_ms: float = float("inf")) -> Session:
    """Let a tracker take a recording as it came, and return its (last) session."""
    since, session = began_at(name), None
    for post in posts(name):
        if post.at_ms <= until_ms:
            hear(tracker, post, now=since + post.at_ms / 1_000, url=url)
            tracker.validate()
            session = next((tracker.get(each.session_id) for each in reports(post, url=url)), session)
    assert session is not None, "no report of it names a session"
    return session


def all_reports(name: str) -> list[Report]:
    """Return every report of a recording, as often as it was sent."""
    return [report for post in posts(name) for each in reports(post) for report in each.reports]
