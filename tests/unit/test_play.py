"""What a demo makes of what it sees: who else is there, and a picture that fits a terminal."""

from io import StringIO
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from serve_app.demo import play
from serve_app.demo.books import Books
from serve_app.demo.said import Event, Said, Sending
from serve_app.demo.script import Does
from serve_app.demo.stage import Look
from serve_app.demo.verdict import COMPARED, is_exact
from sessions.changes import Key

STREAM = "demo-1-abc-stream-0"
STATES = ("shown", "starting", "playing", "rebuffering", "paused", "failed", "ad", "stalled")


def look(counters: dict[Key, float], *, everyone: int, ours: int = 0) -> Look:
    watching = {(STREAM, state): ours if state == "playing" else 0 for state in STATES}
    return Look(began_at=1_100.0, age_s=0.0, everyone=everyone, watching=watching, counters=counters)


def played(*, strangers: int) -> play._Play:
    """One viewer started at 1,000 and ended 20 s later."""
    books = Books()
    books.note(Said(session="one", stream=STREAM, does=Does.START, stamp=1_000.0, playback="starting"), Sending(1_000.0, 1_000.0, 90.0))
    first_frame = (Event("frame", "stream_start", 1_002.0),)
    books.note(Said(session="one", stream=STREAM, does=Does.EVENTS, stamp=1_002.0, events=first_frame), Sending(1_002.0, 1_002.0, 90.0))
    books.note(Said(session="one", stream=STREAM, does=Does.END, stamp=1_020.0, reason="user_exit"), Sending(1_020.0, 1_020.0, 90.0))
    stage: Any = SimpleNamespace(retries=0)
    before = look({}, everyone=strangers)
    return play._Play(stage, books, [], (STREAM,), began_at=1_000.0, duration_s=60.0, before=before, strangers=strangers)


RIGHT: dict[Key, float] = {
    ("started",): 1, ("ended", "user_exit"): 1, ("events", "stream_start"): 1, ("plays", STREAM): 1, ("playing", STREAM): 18.0,
    ("startup", "count"): 1, ("startup", "sum"): 2.0, ("stream_startup", STREAM, "count"): 1, ("stream_startup", STREAM, "sum"): 2.0,
}  # fmt: skip


def differing(silence: play._Silence) -> list[str]:
    return [line.name for line in silence.counters if not line.agrees]


def test_a_pixel_sent_by_hand_before_the_demo_may_expire_during_it(monkeypatch: Any) -> None:
    monkeypatch.setattr("serve_app.demo.play.clock.now", lambda: 1_100.0)
    demo = played(strangers=1)
    assert demo.is_alone_in(look({}, everyone=1))
    assert differing(play._compare(demo, look(RIGHT, everyone=1))) == []
    gone = play._compare(demo, look({**RIGHT, ("expired",): 1}, everyone=0))
    assert differing(gone) == []
    assert is_exact(gone.counters)
    assert differing(play._compare(demo, look({**RIGHT, ("expired",): 2}, everyone=0))) == ["expired"]


def test_a_session_of_before_that_is_summed_up_meanwhile_spoils_no_quality(monkeypatch: Any) -> None:
    monkeypatch.setattr("serve_app.demo.play.clock.now", lambda: 1_100.0)
    summed_up = {**RIGHT, ("session", "count"): 2, ("session", "sum"): 50.0}
    names = [line.name for line in play._compare(played(strangers=1), look(summed_up, everyone=0)).quality]
    assert "plays stream 0" in names
    assert "session_count" not in names
    assert "session_count" in [line.name for line in play._compare(played(strangers=0), look(summed_up, everyone=0)).quality]


def test_nobody_may_expire_who_was_not_there_before(monkeypatch: Any) -> None:
    monkeypatch.setattr("serve_app.demo.play.clock.now", lambda: 1_100.0)
    assert differing(play._compare(played(strangers=0), look({**RIGHT, ("expired",): 1}, everyone=0))) == ["expired"]


def test_one_who_comes_meanwhile_is_seen() -> None:
    assert not played(strangers=1).is_alone_in(look({}, everyone=2))
    assert not played(strangers=0).is_alone_in(look({}, everyone=4, ours=3))


def test_while_others_play_the_counts_of_all_are_left_out(monkeypatch: Any) -> None:
    monkeypatch.setattr("serve_app.demo.play.clock.now", lambda: 1_100.0)
    demo = played(strangers=3)
    demo.alone = False
    assert [line.name for line in play._compare(demo, look({**RIGHT, ("heartbeats",): 70}, everyone=3)).counters] == ["active"]


def test_the_play_fits_a_terminal_of_80_by_24(monkeypatch: Any) -> None:
    demo = played(strangers=0)
    everything: dict[Key, float] = {(name, "x") if name in {"ended", "events", "beacons"} else (name,): 123_456.0 for name in COMPARED}
    busy = Look(1_010.0, 0.0, 9_999, {(STREAM, state): 123_456 for state in STATES}, everything)
    console = Console(file=StringIO(), width=80)
    console.print(play._picture(demo, busy, now=1_010.0))
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) <= 23
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("Playing: 10 of 60 s")
    assert "Watching now" not in lines[1], "the bar does not end its line"
    assert "heartbeats" in console.file.getvalue()


def test_the_whole_play_is_told_in_one_line() -> None:
    assert str(played(strangers=0).books.in_short()) == "1 viewer, 1 at the peak, median start 2.0 s, 0.0% rebuffering"
