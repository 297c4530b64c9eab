"""One session explained: why it is, or is not, counted (sessions/story.py), and its summary for other systems."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessions.changes import Policy
from sessions.events import END_REASONS, Event, Happenings
from sessions.history import What
from sessions.limits import STORY_IGNORED_MAX, STORY_INTERVALS_MAX
from sessions.session import FIELDS, Session
from sessions.states import PLAYBACKS
from sessions.story import describe
from sessions.summary import summarise
from sessions.tracker import Tracker
from storage.codec import decode_session, encode_session, unpack_opaque
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
        (1_011, "promoted"),
        (1_031, "stream"),
        (1_041, "error"),
        (1_042, "wild_clock"),
        (1_200, "expired"),
        (1_300, "revived"),
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
    assert isinstance(described["ignored"], dict)
    last = described["ignored"].pop("last")
    assert described["ignored"] == {"duplicates": 1, "late": 1, "wild_timestamps": 1}
    assert [(each["input"], each["stamped"], each["reason"]) for each in last] == [("start", 1_000, "repeated"), ("mute", 1_010, "late")]
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


# The intervals, what they counted for, and what was ignored.


def intervals(tracker: Tracker, session_id: str = "s") -> list[tuple[object, ...]]:
    told = describe(known(tracker, session_id), now=2_000)["intervals"]
    assert isinstance(told, list)
    return [(each["state"], each["from"], each["to"], each["counted_s"]) for each in told]


def part(tracker: Tracker, name: str) -> list[dict[str, Any]]:
    told = describe(known(tracker), now=2_000)[name]
    assert isinstance(told, list)
    return told


def test_every_state_is_told_with_its_interval_and_the_seconds_it_counted_for(tracker: Tracker) -> None:
    """
    0 start · 2 first frame · 30 stall · 36 on · 60 seek · 62 stall · 65 on · 80 paused · 100 playing · 110 end.

    starting 0-2, playing 2-30, stalled 30-36 by the connection, playing 36-62, stalled 62-65 by the seek, playing 65-80, paused
    80-100, playing 100-110. Once all is final, and while some of it is in the window, it is told alike.
    """
    expected = [
        ("starting", 0, 2, 2),
        ("playing", 2, 30, 28),
        ("rebuffering", 30, 36, 6),
        ("playing", 36, 62, 26),
        ("rebuffering", 62, 65, 3),
        ("playing", 65, 80, 15),
        ("paused", 80, 100, 20),
        ("playing", 100, 110, 10),
    ]
    tracker.receive(start(0), now=0)
    for kind, at in (("stream_start", 2), ("stream_buffer_start", 30), ("stream_buffer_end", 36), ("dvr_seek", 60)):
        tracker.receive(events(event(kind, at)), now=at)
    for kind, at in (("stream_buffer_start", 62), ("stream_buffer_end", 65)):
        tracker.receive(events(event(kind, at)), now=at)
    tracker.receive(beat(80, "paused"), now=80)
    tracker.receive(beat(100, "playing"), now=100)
    tracker.receive(beat(110, "playing"), now=110)
    assert intervals(tracker) == expected
    assert [each["provisional"] for each in part(tracker, "intervals")] == [False] * 3 + [True] * 5
    tracker.receive(end(110), now=110)
    assert intervals(tracker) == expected
    assert not any(each["provisional"] for each in part(tracker, "intervals"))
    assert [each.get("cause") for each in part(tracker, "intervals")] == [None, None, "connection", None, "seek", None, None, None]


def test_an_interval_that_counted_for_less_than_it_lasted_says_that_it_was_capped(tracker: Tracker) -> None:
    tracker.receive(beat(0, "playing"), now=0)
    tracker.receive(beat(200, "paused"), now=200)
    tracker.receive(end(230), now=230)
    assert intervals(tracker) == [("playing", 0, 200, 90), ("paused", 200, 230, 30)]
    assert [each["capped"] for each in part(tracker, "intervals")] == [True, False]


def test_time_shown_or_failed_is_told_and_counts_for_nothing(tracker: Tracker) -> None:
    tracker.receive(pixel("view"), now=1_000)
    tracker.receive(pixel("play"), now=1_007)
    tracker.receive(pixel("check"), now=1_017)
    assert intervals(tracker, PIXEL) == [("shown", 1_000, 1_007, 0), ("playing", 1_007, 1_017, 10)]
    tracker.receive(start(0), now=0)
    tracker.receive(events(event("stream_error", 5, fatal=True)), now=5)
    tracker.receive(end(9), now=9)
    assert intervals(tracker) == [("starting", 0, 5, 5), ("failed", 5, 9, 0)]
    assert [(each["counted_as"], each["capped"]) for each in part(tracker, "intervals")] == [("starting_time", False), (None, False)]


def test_the_silence_between_expiry_and_revival_is_in_no_interval(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    tracker.advance(now=1_200, limit=10)
    tracker.receive(beat(1_300, "playing"), now=1_300)
    tracker.receive(beat(1_320, "playing"), now=1_320)
    assert intervals(tracker) == [("playing", 1_000, 1_030, 30), ("playing", 1_300, 1_320, 20)]


def test_an_interval_says_on_which_stream_it_was_spent(tracker: Tracker) -> None:
    tracker.receive(start(0, stream_id="a"), now=0)
    tracker.receive(beat(10, "playing"), now=10)
    tracker.receive(beat(30, "playing", stream_id="b"), now=30)
    tracker.receive(end(50), now=50)
    assert intervals(tracker) == [("starting", 0, 10, 10), ("playing", 10, 30, 20), ("playing", 30, 50, 20)]
    assert [each["stream_id"] for each in part(tracker, "intervals")] == ["a", "a", "b"]


@pytest.mark.reaches("STORY_INTERVALS_MAX")
def test_the_oldest_of_too_many_intervals_are_forgotten_but_not_what_they_counted(tracker: Tracker) -> None:
    for number in range(100):
        tracker.receive(beat(10 * number, ("playing", "paused")[number % 2]), now=10 * number)
    tracker.receive(end(1_000), now=1_000)
    described = describe(known(tracker), now=1_000)
    told = part(tracker, "intervals")
    assert len(told) == STORY_INTERVALS_MAX - 1  # and the silence that follows the end
    assert described["intervals_forgotten_s"] == told[0]["from"] == 530
    assert sum(each["counted_s"] for each in told) + 530 == 1_000


def test_a_stream_whose_name_is_gone_is_told_as_unknown(tracker: Tracker) -> None:
    for number in range(250):
        tracker.receive(beat(number, ("playing", "paused")[number % 2], stream_id=f"x{number}"), now=number)
    streams = [each["stream_id"] for each in part(tracker, "intervals")]
    assert streams[-50:] == [f"x{number}" for number in range(200, 250)]
    assert set(streams[:-50]) == {None}


def test_the_story_says_what_was_counted_for_what_and_what_of_it_may_still_change(tracker: Tracker) -> None:
    """0 start · 2 frame, 8 Mbit/s from 10 on · 20-24 a stall · 50 the first quality · 80 playing: 0-20 is final, for 80 - 60 = 20."""
    tracker.receive(start(0), now=0)
    tracker.receive(events(event("stream_start", 2)), now=2)
    tracker.receive(beat(10, "playing", bitrate_bps=8_000_000), now=10)
    tracker.receive(events(event("stream_buffer_start", 20), event("stream_buffer_end", 24), event("stream_error", 30)), now=30)
    tracker.receive(beat(50, "playing", quality="720p"), now=50)
    tracker.receive(beat(80, "playing"), now=80)
    rows = {each["what"]: (each["amount"], each["provisional"]) for each in part(tracker, "counters")}
    # Folded: what is older than 20, so the interval that the beat at 10 opened is still open.
    assert rows == {
        "playing_seconds": (74, 66),
        "rebuffering_seconds": (4, 4),
        "bitrate_seconds": (66, 66),
        "played_bytes": (66_000_000, 66_000_000),
        "plays": (1, 0),
        "rebuffers, connection": (1, 1),
        "stream_errors": (1, 0),
    }
    tracker.receive(end(80), now=80)
    final = {each["what"]: (each["amount"], each["provisional"]) for each in part(tracker, "counters")}
    assert final == {what: (amount, 0) for what, (amount, _) in rows.items()}
    increments = tracker.take_changes().increments
    assert increments["playing", "stream"] == 74
    assert increments["played_bytes", "stream"] == 66_000_000


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [
        (start(1_020), ("start", 1_020, "repeated")),
        (beat(1_010), ("heartbeat", 1_010, "repeated")),
        (beat(1_005), ("heartbeat", 1_005, "older")),
        (events(event("mute", 1_010, event_id="e")), ("mute", 1_010, "repeated")),
        (events(event("share", 900)), ("share", 900, "late")),
    ],
)
def test_the_story_names_each_ignored_input_with_both_its_times_and_the_reason(
    tracker: Tracker, ignored: Event, expected: tuple[str, float, str]
) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_010), now=1_010)
    tracker.receive(events(event("mute", 1_009, event_id="e")), now=1_010)
    tracker.receive(ignored, now=1_021)
    told = describe(known(tracker), now=1_030)["ignored"]
    assert isinstance(told, dict)
    [one] = told["last"]
    assert (one["input"], one["stamped"], one["reason"], one["at"]) == (*expected, 1_021)
    assert one["text"]


@pytest.mark.parametrize("refused", [beat(1_060), events(event("tip", 1_060))])
def test_what_came_after_the_end_is_told_as_refused(tracker: Tracker, refused: Event) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(end(1_050), now=1_050)
    tracker.receive(refused, now=1_061)
    told = describe(known(tracker), now=1_070)["ignored"]
    assert isinstance(told, dict)
    assert [(each["stamped"], each["reason"]) for each in told["last"]] == [(1_060, "after_end")]


@pytest.mark.reaches("STORY_IGNORED_MAX")
def test_the_last_sixteen_ignored_inputs_are_told_and_all_of_them_are_counted(tracker: Tracker) -> None:
    tracker.receive(beat(1_000), now=1_000)
    for number in range(40):
        tracker.receive(beat(1_000), now=1_001 + number)
    told = describe(known(tracker), now=1_050)["ignored"]
    assert isinstance(told, dict)
    assert told["duplicates"] == 40
    assert [each["at"] for each in told["last"]] == [1_025 + number for number in range(STORY_IGNORED_MAX)]


def test_a_story_survives_the_journal(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_010, "playing"), now=1_010)
    tracker.receive(beat(1_010, "playing"), now=1_011)
    tracker.receive(beat(1_100, "paused"), now=1_100)
    session = known(tracker)
    assert describe(decode_session(encode_session(session)), now=1_100) == describe(session, now=1_100)


def test_a_session_that_an_older_build_wrote_has_the_intervals_that_it_still_knows(tracker: Tracker) -> None:
    """0 playing · 30 · 60 · 100 playing · 130 paused, of which 0-60 are folded, as bytes without intervals."""
    for at in (0, 30, 60, 100):
        tracker.receive(beat(at, "playing"), now=at)
    tracker.receive(beat(130, "paused"), now=130)
    older = Session.load(known(tracker).dump()[: FIELDS.index("intervals")])
    described = describe(older, now=130)
    assert described["intervals_forgotten_s"] == 130
    assert [each["state"] for each in described["intervals"]] == ["paused"]  # type: ignore[attr-defined]


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.integers(0, 130), st.sampled_from(["playing", "paused", "rebuffering", None]), st.sampled_from(["a", "b", None])),
        min_size=1,
        max_size=20,
    )
)
def test_the_intervals_add_up_to_the_account_whatever_came(said: list[tuple[int, str | None, str | None]]) -> None:
    tracker, now = Tracker(7, policy=Policy()), 0
    tracker.receive(start(0, stream_id="a"), now=0)
    for step, playback, stream in said:
        now += step
        while tracker.advance(now=now, limit=10):
            pass
        tracker.receive(beat(now, playback, stream_id=stream), now=now)
    described: Any = describe(known(tracker), now=now)
    by_state: Counter[str] = Counter()
    for each in described["intervals"]:
        assert each["from"] <= each["to"]
        by_state[f"{each['state']}_time_s"] += each["counted_s"]
    for name in ("starting_time_s", "playing_time_s", "rebuffering_time_s", "paused_time_s"):
        assert by_state[name] == described["account"][name]
    for before, after in pairwise(described["intervals"]):
        assert before["to"] <= after["from"]


# The score, from the JSON alone.


def score_from(told: dict[str, Any]) -> float | None:
    """The formulas of docs/metrics.md, of what `/v1/sessions/{id}` answers; nothing of ours is called."""
    parts = told["account"]
    if told["liveness"] == "active" or (told["beacon"] and not parts["played"]):
        return None
    success = 0 if parts["failure"] else 100 if parts["played"] else 50
    if not parts["played"]:
        return success * 0.5 if success else 0
    n, r = parts["rebuffer_count"], parts["rebuffering_ratio"] or 0
    smoothness = 0.5 * 100 / math.sqrt(1 + (n / 2) ** 2) + 0.5 * 100 * math.exp(-10 * r)
    if parts["startup_time_s"] is None:
        return success / 100 * smoothness
    return success / 100 * (0.4 * (100 * 8 / (8 + parts["startup_time_s"])) + 0.6 * smoothness)


@pytest.mark.parametrize(
    ("inputs", "score"),
    [
        ([start(0), events(event("stream_start", 2)), beat(30, "playing"), end(42)], 92),
        ([start(0), events(event("stream_start", 2)), events(event("stream_buffer_start", 32)), end(42)], 61.2954),
        ([beat(0, "playing", rebuffer_count=2), end(60)], 85.3553),
        ([start(0), end(5)], 25),
        ([start(0), end(5, reason="error")], 0),
        ([start(0), events(event("stream_start", 2)), events(event("stream_error", 9, fatal=True)), end(12)], 0),
        ([start(0), beat(30, "playing")], None),
    ],
)
def test_the_score_can_be_worked_out_from_the_json_of_the_story_alone(tracker: Tracker, inputs: list[Event], score: float | None) -> None:
    """
    By hand: startup 2 s is 80, smooth 100: 0.4·80 + 0.6·100 = 92. One stall, ratio 10/40: ½·100/√1.25 + 50·e^-2.5 = 44.7214 + 4.1042.

    0.4·80 + 0.6·48.8256 = 61.2954. Two stalls of the player's own counter, startup unknown: ½·100/√2 + 50 = 85.3553.
    """
    for each in inputs:
        tracker.receive(each, now=each.happenings[-1].at if isinstance(each, Happenings) else each.at)  # type: ignore[union-attr]
    told = json.loads(msgspec.json.encode(unpack_opaque(describe(known(tracker), now=100))))
    assert told["account"]["experience_score"] == (None if score is None else pytest.approx(score, abs=1e-4))
    assert score_from(told) == (None if score is None else pytest.approx(score, abs=1e-4))
