"""One session by itself: its window, its bytes, its streams (sessions/session.py)."""

from copy import deepcopy
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessions.gains import Gains
from sessions.session import FIELDS, Ending, Pixel, Session, Tallies
from sessions.states import Cue, Liveness, Playback
from sessions.story import What
from sessions.window import SAYS_STREAM, fingerprint


def session() -> Session:
    made = Session("s", now=1_000)
    made.offset = 0.0
    made.tell(What.STARTED, now=1_000)
    return made


def said(one: Session) -> list[tuple[float, int]]:
    return [(at, cue) for at, cue, *_ in one.window_inputs()]


def test_the_window_sorts_by_the_players_time() -> None:
    one = session()
    for at, cue in ((10, Cue.BEAT), (30, Cue.DVR_SEEK), (20, Cue.ENGAGED), (5, Cue.START)):
        assert one.note(cue, at, gains=Gains(), cap_s=90)
    assert said(one) == [(5, Cue.START), (10, Cue.BEAT), (20, Cue.ENGAGED), (30, Cue.DVR_SEEK)]


def test_among_equal_times_the_order_of_arrival_stands() -> None:
    one = session()
    for at, cue in ((10, Cue.BUFFER_START), (20, Cue.BEAT), (10, Cue.BUFFER_END), (20, Cue.ENGAGED)):
        one.note(cue, at, gains=Gains(), cap_s=90)
    assert said(one) == [(10, Cue.BUFFER_START), (10, Cue.BUFFER_END), (20, Cue.BEAT), (20, Cue.ENGAGED)]


def test_what_is_more_than_sixty_seconds_older_than_the_newest_is_folded() -> None:
    one = session()
    for at in (0, 30, 60, 61):
        one.note(Cue.BEAT_PLAYING, at, gains=Gains(), cap_s=90)
    assert said(one) == [(30, Cue.BEAT_PLAYING), (60, Cue.BEAT_PLAYING), (61, Cue.BEAT_PLAYING)]
    assert one.settled().playing_s == 61


def test_folding_early_or_late_gives_the_same_account() -> None:
    early, late = session(), session()
    for at in range(0, 50, 5):
        for one in (early, late):
            one.note(
                (Cue.BEAT_PLAYING, Cue.BEAT_REBUFFERING, Cue.BEAT_PAUSED)[at % 3],
                at,
                gains=Gains(),
                cap_s=90,
                bitrate=at,
                quality=1 + at % 2,
            )
        early.fold(at, Gains())
    assert early.settled().pack() == late.settled().pack()
    assert len(early.window_inputs()) == 1


def test_settling_leaves_the_session_as_it_was() -> None:
    one = session()
    one.note(Cue.BEAT_PLAYING, 10, gains=Gains(), cap_s=90)
    before = deepcopy(one.dump())
    one.settled().apply((1_000, Cue.BEAT_PAUSED, 0, 90, 0, 0, 0))
    assert one.dump() == before


def test_a_session_remembers_that_it_saw_an_event() -> None:
    one = session()
    one.remember_event(b"1234567")
    assert one.knows_event(b"1234567")
    assert not one.knows_event(b"2345678")


def test_digests_are_compared_whole_not_across_their_seams() -> None:
    one = session()
    one.remember_event(b"AAAABBB")
    one.remember_event(b"BBBBCCC")
    assert not one.knows_event(b"BBBBBBB")
    one.remember_event(b"BBBBBBB")
    assert one.knows_event(b"BBBBBBB")


def test_a_quality_never_has_the_fingerprint_of_none() -> None:
    assert fingerprint("") != 0
    assert fingerprint("720p") != fingerprint("1080p")
    # What a journal holds must mean the same for ever.
    assert fingerprint("1080p") == crc32(b"1080p")


def test_auto_is_no_quality() -> None:
    assert fingerprint("auto") == 0


def test_it_was_created_when_its_first_input_came_however_long_its_story_grows() -> None:
    one = session()
    for number in range(200):
        one.tell(What.ERROR, now=2_000 + number)
    assert one.created_at == 1_000


def test_a_dump_is_plain_values_in_the_order_that_was_fixed() -> None:
    assert len(session().dump()) == len(FIELDS)
    assert FIELDS[:6] == ("session_id", "liveness", "provisional", "seen_at", "bucket", "interval_s")
    assert FIELDS[-8:] == ("ignored", "rebuffer_counter", "behind", "resume", "clock_since", "held_up", "reporter", "ahead")
    assert set(FIELDS) == set(Session.__slots__)


def test_a_session_survives_its_dump() -> None:
    one = session()
    one.liveness, one.playback, one.frame = Liveness.ENDED, Playback.PAUSED, True
    one.pixel = Pixel("zone", ("view",), visible=False)
    one.ending = Ending(1_010.5, "error", 3, b"bye")
    one.tallies = Tallies(1, 2, 3, 4)
    one.streams, one.stream_id, one.previous_offset = ("a", "b"), "c", -3.25
    one.behind, one.ahead, one.clock_since, one.held_up = b"run", b"run ahead", 1_001.0, 1_002.0
    one.note(Cue.BEAT_PLAYING, 1_010.5, gains=Gains(), cap_s=90, bitrate=5, quality=7)
    values = [list(value) if isinstance(value, tuple) else value for value in one.dump()]
    again = Session.load(values)
    assert again.dump() == one.dump()
    assert (type(again.liveness), type(again.playback)) == (Liveness, Playback)
    assert (again.pixel, again.ending, again.tallies) == (one.pixel, one.ending, one.tallies)


@pytest.mark.parametrize("kept", [1, 5, 20, 29])
def test_what_an_older_build_wrote_lacks_its_tail_and_takes_the_defaults(kept: int) -> None:
    fresh = Session("s", now=0.0)
    loaded = Session.load(session().dump()[:kept])
    for name in FIELDS[kept:]:
        assert getattr(loaded, name) == getattr(fresh, name)


def test_what_a_newer_build_appended_is_ignored() -> None:
    assert Session.load((*session().dump(), "new", 5)).dump() == session().dump()


def test_a_stream_that_was_unknown_gets_its_name() -> None:
    one = session()
    one.note(Cue.BEAT_PLAYING, 0, gains=Gains(), cap_s=90)
    one.watch("a", Gains())
    one.note(Cue.BEAT_PLAYING, 10, gains=Gains(), cap_s=90)
    assert (one.streams, one.stream_id) == ((), "a")


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from([None, "a", "b", "c"])), min_size=1, max_size=25, unique_by=lambda each: each[0])
)
def test_an_input_that_names_no_stream_watches_the_one_named_before_it(inputs: list[tuple[int, str | None]]) -> None:
    """As the tracker does it: who is the newest to name a stream moves the session."""
    one = session()
    one.watch("first", Gains())
    one.note(Cue.START, 0, gains=Gains(), cap_s=90, stream_id="first", says=SAYS_STREAM)
    for at, stream in inputs:
        if stream is not None and stream != one.stream_id and not one.said_since(at) & SAYS_STREAM:
            one.watch(stream, Gains())
        one.note(Cue.BEAT, at, gains=Gains(), cap_s=90, stream_id=stream, says=0 if stream is None else SAYS_STREAM)
    names, expected, watched = (*one.streams, one.stream_id), [(0, "first")], "first"
    for at, stream in sorted(inputs):
        watched = stream or watched
        expected.append((at, watched))
    assert [(record[0], names[record[2]]) for record in one.window_inputs()] == expected
    assert one.stream_id == watched


def test_a_session_of_the_build_before_is_read_though_it_went_back_after_a_wild_timestamp_in_another_way() -> None:
    values = list(session().dump())[: FIELDS.index("reporter")]
    for resume in (None, [1_000.5, 7.0, 1_000.0]):
        values[FIELDS.index("resume")] = resume
        again = Session.load(values)
        assert (again.ahead, again.settled().playback) == (b"", session().settled().playback)
