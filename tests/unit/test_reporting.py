"""What reports do to a session: what recordings do not show."""

from collections.abc import Iterator

import pytest

from sessions import limits
from sessions.changes import Policy, Receipt
from sessions.events import Heartbeat, Report, Reports, Start, reported_id
from sessions.qoe import figures
from sessions.session import Session
from sessions.states import Liveness, Playback
from sessions.story import describe, intervals
from sessions.tracker import Tracker

ID = reported_id("s")
T0 = 1_000.0


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    one = Tracker(7, policy=Policy())
    yield one
    one.validate()


def says(tracker: Tracker, *reports: Report, now: float | None = None, target: int = 1, **more: object) -> Receipt:
    latest = max(report.at for report in reports) if now is None else now
    return tracker.receive(Reports(ID, target, reports, **more), now=latest)  # type: ignore[arg-type]


def ps(at: float, state: str, number: int | None = None, **more: object) -> Report:
    return Report(T0 + at, "ps", state, number, **more)  # type: ignore[arg-type]


def t(at: float, state: str = "", number: int | None = None, **more: object) -> Report:
    return Report(T0 + at, "t", state, number, **more)  # type: ignore[arg-type]


def session_of(tracker: Tracker) -> Session:
    session = tracker.get(ID)
    assert session is not None
    return session


def states(session: Session) -> list[tuple[str, float]]:
    return [(str(each["state"]), float(str(each["from"])) - T0) for each in intervals(session)]


def test_a_session_of_reports_is_started_once_and_no_post_reaches_it(tracker: Tracker) -> None:
    assert says(tracker, ps(0, "s")) == Receipt(accepted=True, accepted_count=1, rejected=(("repeated", "0"), ("late", "0")))
    tracker.receive(Heartbeat("s", T0, "playing"), now=T0)
    assert (tracker.ledger.started, tracker.ledger.provisional) == (1, 1)


def test_a_seek_while_paused_stays_paused_whatever_is_said_of_it(tracker: Tracker) -> None:
    says(tracker, ps(0, "s"), ps(1, "p"), ps(5, "a"), ps(8, "k"), ps(8.1, "w"), t(10, "k"), t(20, "k"))
    assert session_of(tracker).playback is Playback.PAUSED
    assert states(session_of(tracker)) == [("starting", 0.0), ("playing", 1.0), ("paused", 5.0)]
    says(tracker, ps(30, "p"))
    assert session_of(tracker).playback is Playback.PLAYING


def test_a_seek_that_two_t_in_a_row_still_say_is_what_it_was_before(tracker: Tracker) -> None:
    says(tracker, ps(0, "s"), ps(1, "p"), ps(5, "k"), t(10, "k"))
    assert session_of(tracker).playback is Playback.REBUFFERING
    says(tracker, t(20, "k"))
    assert session_of(tracker).playback is Playback.PLAYING
    says(tracker, t(30, "k"))
    assert figures(session_of(tracker))["rebuffering_time_s"] == 15.0


def test_who_says_that_it_is_over_ends_a_second_later_and_may_begin_anew(tracker: Tracker) -> None:
    says(tracker, ps(0, "s"), ps(1, "p"), ps(11, "e"))
    assert tracker.ledger.active == 1
    tracker.advance(now=T0 + 12.5, limit=9)
    session = session_of(tracker)
    assert (session.liveness, session.end_reason) == (Liveness.ENDED, "completed")
    assert figures(session)["playing_time_s"] == 10.0
    assert tracker.ledger.ended == {"completed": 1}
    assert says(tracker, t(21, "e"), now=T0 + 21).accepted_count == 0
    says(tracker, ps(30, "s"), ps(31, "p"))
    assert (tracker.ledger.started, tracker.ledger.active, session_of(tracker).playback) == (2, 1, Playback.PLAYING)


@pytest.mark.reaches("REPORT_END_S")
def test_what_was_said_before_the_end_may_come_up_to_a_second_after_it(tracker: Tracker) -> None:
    says(tracker, ps(0, "s"), ps(1, "p"), ps(11, "q"))
    tracker.advance(now=T0 + 11.9, limit=9)
    says(tracker, ps(6, "a"), now=T0 + 11.9)
    tracker.advance(now=T0 + 11.9 + limits.REPORT_END_S + 0.5, limit=9)
    session = session_of(tracker)
    assert (session.end_reason, figures(session)["paused_time_s"]) == ("user_exit", 5.0)
    assert says(tracker, ps(7, "p"), now=T0 + 14).rejected == (("repeated", "0"), ("late", "1"))


@pytest.mark.reaches("REPORT_CAP_S")
def test_no_interval_counts_for_more_than_the_longest_expiry(tracker: Tracker) -> None:
    says(tracker, ps(0, "s"), ps(1, "p"), t(901, "p"))
    assert figures(session_of(tracker))["playing_time_s"] == 900.0
    says(tracker, t(901 + 1_000, "p"), now=T0 + 901 + 1_000)
    assert figures(session_of(tracker))["playing_time_s"] <= 1_800.0


@pytest.mark.reaches("REPORTS_PENDING_MAX")
def test_what_there_is_no_room_for_is_settled_early_and_still_counts(tracker: Tracker) -> None:
    count = limits.REPORTS_PENDING_MAX + 20
    says(tracker, ps(0, "s", 0), ps(1, "p", 1), *(t(1 + number / 10, "p", 1 + number) for number in range(1, count)))
    session = session_of(tracker)
    assert session.reporter is not None
    assert len(session.window_inputs()) <= limits.REPORTS_PENDING_MAX
    assert figures(session)["playing_time_s"] == pytest.approx((count - 1) / 10)
    # Its place is settled: sent again it is known by its number.
    assert says(tracker, ps(1, "p", 1), now=T0 + 20).rejected == (("repeated", "1"), ("late", "0"))


def test_reports_that_all_have_the_same_time_are_settled_together(tracker: Tracker) -> None:
    says(tracker, *(ps(0, "p", number) for number in range(300)), now=T0)
    says(tracker, *(t(100, "p", number) for number in range(300, 600)), now=T0 + 200)
    assert session_of(tracker).playback is Playback.PLAYING


def test_a_flood_after_an_outage_finds_its_place_however_it_comes(tracker: Tracker) -> None:
    says(tracker, ps(0, "s", 0), now=T0)
    says(tracker, ps(1, "p", 1), now=T0 + 1)
    tracker.pause(600)
    flood = [t(30.0 * beat, "p", 1 + beat) for beat in range(1, 21)]
    for report in reversed(flood):
        says(tracker, report, now=T0 + 602)
    assert figures(session_of(tracker))["playing_time_s"] == 599.0
    assert tracker.ledger.revived == 0


def test_another_content_moves_the_session_with_a_startup_of_its_own(tracker: Tracker) -> None:
    says(tracker, ps(0, "s", stream_id="one"), ps(1, "p", stream_id="one"), t(11, "p", stream_id="one"))
    says(tracker, ps(20, "s", stream_id="two"), ps(22, "p", stream_id="two"))
    session = session_of(tracker)
    assert (session.stream_id, figures(session)["startup_time_s"]) == ("two", 2.0)
    assert tracker.audience["stream", "two", "playing"] == 1
    tracker.advance(now=T0 + 5_000, limit=9)
    increments = tracker.take_changes().increments
    assert (increments["plays", "one"], increments["plays", "two"], increments["playing", "one"]) == (1, 1, 19.0)


def test_a_report_that_comes_late_and_names_another_stream_gives_the_time_to_it(tracker: Tracker) -> None:
    says(tracker, ps(0, "s", stream_id="one"), ps(1, "p", stream_id="one"))
    says(tracker, t(30, "p"))
    says(tracker, ps(10, "p", stream_id="two"), now=T0 + 31)
    session = session_of(tracker)
    assert session.stream_id == "two"
    assert tracker.audience["stream", "two", "playing"] == 1
    assert [each["stream_id"] for each in intervals(session)] == ["one", "one", "two", "two"]


def test_advertisements_are_a_state_of_their_own(tracker: Tracker) -> None:
    says(tracker, ps(0, "s"), ps(1, "p"), Report(T0 + 5, "abs"), Report(T0 + 5, "as"), t(8, "p"), Report(T0 + 15, "ae"))
    assert session_of(tracker).playback is Playback.AD
    says(tracker, Report(T0 + 15.5, "abe"))
    assert session_of(tracker).playback is Playback.PLAYING
    assert figures(session_of(tracker))["ad_time_s"] == 10.5
    assert tracker.take_changes().increments["events", "ad_break_start"] == 1


def test_a_player_that_begins_to_speak_is_measured_from_then_on(tracker: Tracker) -> None:
    says(tracker, t(0, has_media=True, bitrate_bps=464_000))
    says(tracker, t(30, has_media=True))
    assert session_of(tracker).blind_player == "unknown"
    says(tracker, ps(40, "p"), t(60, "p"))
    session = session_of(tracker)
    assert session.blind_player is None
    assert figures(session)["playing_time_s"] == 20.0


def test_a_clock_that_is_set_ahead_costs_nothing_and_gains_nothing(tracker: Tracker) -> None:
    says(tracker, ps(0, "s"), ps(1, "p"), now=T0 + 1)
    says(tracker, t(31, "p"), now=T0 + 31)
    says(tracker, t(3_661, "p"), now=T0 + 61)
    says(tracker, t(3_691, "p"), now=T0 + 91)
    assert figures(session_of(tracker))["playing_time_s"] == 60.0


def test_a_player_beside_a_client_of_ours_adds_its_numbers_and_leaves_the_state_to_it(tracker: Tracker) -> None:
    tracker.receive(Start("mine", T0, "live", "ch", "cr", "p", "web", "US", "wifi", "auto"), now=T0)
    tracker.receive(Heartbeat("mine", T0 + 1, "playing"), now=T0 + 1)
    beside = Reports("mine", 1, (ps(2, "a", 0, bitrate_bps=510_000), ps(2, "a", 0, bitrate_bps=510_000)), joins=True)
    assert tracker.receive(beside, now=T0 + 2).rejected == (("repeated", "1"), ("late", "0"))
    tracker.receive(Heartbeat("mine", T0 + 12, "playing"), now=T0 + 12)
    session = tracker.get("mine")
    assert session is not None
    assert (session.playback, figures(session)["average_bitrate_bps"]) == (Playback.PLAYING, 510_000.0)
    assert tracker.ledger.started == 1


def test_the_last_report_sent_again_after_the_session_expired_counts_once(tracker: Tracker) -> None:
    error = Report(T0 + 5, "e", number=2)
    says(tracker, ps(0, "s", 0), ps(1, "p", 1), error)
    tracker.advance(now=T0 + 100, limit=9)
    assert session_of(tracker).liveness is Liveness.EXPIRED
    assert says(tracker, error, now=T0 + 110).rejected == (("repeated", "1"), ("late", "0"))
    assert (figures(session_of(tracker))["errors"], session_of(tracker).liveness) == (1, Liveness.ACTIVE)


def test_a_session_is_found_by_the_name_that_people_know(tracker: Tracker) -> None:
    says(tracker, ps(0, "s"))
    assert describe(session_of(tracker), now=T0)["session_id"] == "cmcd:s"


def test_gaps_in_the_numbers_are_counted_as_lost(tracker: Tracker) -> None:
    says(tracker, ps(0, "s", 0), ps(1, "p", 1), t(30, "p", 4))
    tracker.advance(now=T0 + 5_000, limit=9)
    assert tracker.take_changes().increments["cmcd_lost_reports", "unknown"] == 2
