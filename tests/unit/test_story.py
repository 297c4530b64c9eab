"""One session explained: why it is, or is not, counted (sessions/story.py), and its summary for other systems."""

from collections.abc import Iterator

import pytest

from sessions.changes import Policy
from sessions.events import END_REASONS
from sessions.states import PLAYBACKS
from sessions.story import What, describe
from sessions.summary import summarise
from sessions.tracker import Tracker
from tests.unit.inputs import PIXEL, beat, end, event, events, known, pixel, start


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker(7, policy=Policy())
    yield tracker
    tracker.validate()


def told(tracker: Tracker, session_id: str = "s") -> list[tuple[object, object]]:
    story = describe(known(tracker, session_id), now=2_000)["story"]
    assert isinstance(story, list)
    return [(entry["at"], entry["what"]) for entry in story]


def test_an_active_session_says_that_it_counts_as_what_and_until_when(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_010, "playing"), now=1_010)
    session = known(tracker)
    described = describe(session, now=1_040, remaining_s=tracker.remaining_s(session, now=1_040))
    assert described["counted"] is True
    assert described["why"] == "counted as playing: last sign of life 30.0 s ago, expires in 60.2 s without another"
    assert described["expires_in_s"] == 60.25


def test_a_provisional_session_says_that_its_start_is_missing(tracker: Tracker) -> None:
    tracker.receive(beat(1_000), now=1_000)
    assert "provisionally (its start never arrived)" in str(describe(known(tracker), now=1_000)["why"])


def test_an_expired_session_says_since_when_it_is_silent_and_how_long_it_may_come_back(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.advance(now=1_100, limit=10)
    session = known(tracker)
    described = describe(session, now=1_500, remaining_s=tracker.remaining_s(session, now=1_500))
    assert described["counted"] is False
    assert described["why"] == "not counted: expired, with its last sign of life 500.0 s ago; another within 1400 s revives it"
    assert described["expires_in_s"] is None


def test_an_ended_session_says_that_its_player_ended_it(tracker: Tracker) -> None:
    tracker.receive(end(1_000, reason="inactivity"), now=1_000)
    assert describe(known(tracker), now=1_000)["why"] == "not counted: the player ended it (inactivity)"


def test_the_story_tells_what_happened_in_our_time(tracker: Tracker) -> None:
    tracker.receive(beat(5_010, "playing"), now=1_010)
    tracker.receive(start(5_000), now=1_011)
    tracker.receive(beat(5_030, stream_id="another"), now=1_031)
    tracker.receive(events(event("stream_error", 5_040)), now=1_041)
    tracker.receive(events(event("mute", 9_000)), now=1_042)
    tracker.advance(now=1_200, limit=10)
    tracker.receive(beat(9_300, "paused"), now=1_300)
    tracker.receive(end(9_310), now=1_310)
    assert told(tracker) == [
        (1_010, "provisional"),
        (1_010, "playback"),
        (1_011, "promoted"),
        (1_031, "stream"),
        (1_041, "error"),
        (1_042, "wild_clock"),
        (1_200, "expired"),
        (1_300, "revived"),
        (1_300, "playback"),
        (1_310, "ended"),
    ]


def test_every_entry_has_its_words_and_its_detail(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    session = known(tracker)
    session.story = b""
    for what in What:
        session.tell(what, now=1_000, detail=1)
    story = describe(session, now=1_000)["story"]
    assert isinstance(story, list)
    assert [entry["what"] for entry in story] == [what.name.lower() for what in What]
    assert all(entry["text"] for entry in story)
    by_name = {entry["what"]: entry for entry in story}
    assert by_name["ended"]["reason"] == END_REASONS[1]
    assert by_name["playback"]["playback"] == str(PLAYBACKS[1])
    assert by_name["error"]["fatal"] is True


def test_a_description_holds_what_was_ignored_and_what_was_only_kept(tracker: Tracker) -> None:
    tracker.receive(start(1_000, profile=b"profile"), now=1_000)
    tracker.receive(start(1_000, profile=b"other"), now=1_000)
    tracker.receive(beat(1_100, vitals=b"vitals"), now=1_100)
    tracker.receive(events(event("mute", 1_010)), now=1_101)
    tracker.receive(events(event("mute", 9_999)), now=1_102)
    tracker.receive(end(10_000, farewell=b"farewell"), now=1_103)
    described = describe(known(tracker), now=1_103)
    assert described["ignored"] == {"duplicates": 1, "late": 1, "wild_timestamps": 1}
    assert (described["profile"], described["vitals"], described["farewell"]) == (b"profile", b"vitals", b"farewell")


def test_a_guest_is_a_session_like_any_other(tracker: Tracker) -> None:
    tracker.receive(start(1_000, profile=b""), now=1_000)
    described = describe(known(tracker), now=1_000)
    assert (described["counted"], described["profile"]) == (True, b"")


def test_a_beacon_session_tells_its_pull_zone_and_whether_it_is_hidden(tracker: Tracker) -> None:
    tracker.receive(pixel("play", visible=False), now=1_000)
    described = describe(known(tracker, PIXEL), now=1_000)
    assert (described["beacon"], described["pullzone"], described["visible"], described["stream_id"]) == (True, "zone", False, "video")


def test_a_summary_says_how_it_finished_and_for_the_how_manieth_time(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_010, "playing"), now=1_010)
    tracker.advance(now=1_200, limit=10)
    [finished] = tracker.take_changes().finished
    summary = summarise(finished.session, revision=finished.revision)
    assert (summary["revision"], summary["outcome"], summary["end_reason"]) == (1, "expired", None)
    tracker.receive(end(1_030, reason="timeout", total_watch_s=20), now=1_210)
    [finished] = tracker.take_changes().finished
    summary = summarise(finished.session, revision=finished.revision)
    assert (summary["revision"], summary["outcome"], summary["end_reason"]) == (2, "ended", "timeout")
    assert summary["account"]["player_total_watch_s"] == 20  # type: ignore[index]
