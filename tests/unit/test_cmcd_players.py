"""What real players really do, each on what they sent: see `tests/players/README.md` and `docs/players.md`."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessions.changes import Policy
from sessions.qoe import figures
from sessions.session import Session
from sessions.states import Liveness, Playback
from sessions.story import intervals
from sessions.tracker import Tracker
from storage import codec
from tests.players.recordings import HERE, Post, began_at, hear, notes, play, posts, reports

ALL = sorted(file.stem for file in HERE.glob("*-event-*.jsonl"))
WITHOUT_ID = "dash-event-default-interval-65s"


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    one = Tracker(7, policy=Policy())
    yield one
    one.validate()


def ledger_and_state(tracker: Tracker) -> tuple[int, int]:
    return tracker.ledger.active, sum(count for key, count in tracker.audience.items() if key[0] == "state")


def told(session: Session) -> dict[str, object]:
    """Return all that must not depend on how reports came."""
    reporter = session.reporter
    assert reporter is not None
    return {
        "playback": session.playback,
        "stream": session.stream_id,
        "quality": session.quality,
        "figures": figures(session),
        "intervals": [(each["state"], each["from"], each["to"], each["stream_id"], each.get("cause")) for each in intervals(session)],
        "blind": session.blind_player,
        "said": reporter.said,
    }


# Seconds, on what each player said of one life: play, a stall of 6 s, a pause of 5 s, a seek back.


def element_seconds(name: str) -> dict[str, float]:
    """Return how long the element itself stalled and paused, by its own events."""
    heard = [(at_ms, note.split()[0].removeprefix("video:")) for at_ms, note in notes(name) if note.startswith("video:")]
    seconds, state, since, seeking = {"rebuffering": 0.0, "paused": 0.0}, "", 0, False
    played = False
    for at_ms, event in heard:
        now = {"playing": "playing", "waiting": "rebuffering", "pause": "paused"}.get(event)
        seeking = event == "seeking" or (seeking and event != "playing")
        if now is None or (now == "rebuffering" and not played):
            continue
        if state in seconds:
            seconds[state] += (at_ms - since) / 1_000
        state, since, played = now, at_ms, played or now == "playing"
    return seconds


@pytest.mark.parametrize("name", ["hls-event-life", "dash-event-life", "shakadebug-event-life"])
def test_a_life_is_counted_to_the_half_second(tracker: Tracker, name: str) -> None:
    session, truth = play(tracker, name), element_seconds(name)
    found = figures(session)
    assert found["rebuffering_time_s"] == pytest.approx(truth["rebuffering"], abs=0.5)
    assert found["paused_time_s"] == pytest.approx(truth["paused"], abs=0.5)
    account = session.settled()
    assert account.rebuffers - account.seek_rebuffers == 1
    assert account.seek_rebuffers >= 1


def test_the_startup_is_the_first_frame_less_the_first_start(tracker: Tracker) -> None:
    # hls.js: s at 25.982, p at 26.437.
    assert figures(play(tracker, "hls-event-life"))["startup_time_s"] == pytest.approx(0.455, abs=0.001)
    # dash.js: s at 12.091, p at 12.912; its own msd says 1 ms.
    assert figures(play(Tracker(7, policy=Policy()), "dash-event-life"))["startup_time_s"] == pytest.approx(0.821, abs=0.001)


# Each thing that players were seen to do.


@pytest.mark.parametrize("name", ["hls-event-leave-page", "dash-event-leave-page"])
def test_who_leaves_without_a_word_is_gone_ninety_seconds_after_the_last_one(tracker: Tracker, name: str) -> None:
    session = play(tracker, name)
    assert session.playback is Playback.PLAYING
    left_at = session.seen_at
    tracker.advance(now=left_at + 89.9, limit=9)
    assert session.liveness is Liveness.ACTIVE
    tracker.advance(now=left_at + 90.5, limit=9)
    assert session.liveness is Liveness.EXPIRED
    assert session.settled().at == session.newest_at


@pytest.mark.reaches("REPORT_GONE_S")
def test_a_page_that_went_into_the_background_and_says_no_more_is_gone_fifteen_seconds_beyond_its_rhythm(tracker: Tracker) -> None:
    # Two posts so far: its rhythm is not known yet, and taken for the 30 s of a player that nobody set.
    session = play(tracker, "shaka-event-leave-page")
    tracker.advance(now=session.seen_at + 44.9, limit=9)
    assert session.liveness is Liveness.ACTIVE
    tracker.advance(now=session.seen_at + 45.5, limit=9)
    assert session.liveness is Liveness.EXPIRED


def test_a_page_that_is_hidden_and_goes_on_saying_so_stays(tracker: Tracker) -> None:
    # In the background at 68.2 s, a report all the same at 68.6 s: it is there as long as any other.
    session = play(tracker, "shaka-event-life", until_ms=70_000)
    tracker.advance(now=session.seen_at + 89.9, limit=9)
    assert session.liveness is Liveness.ACTIVE


@pytest.mark.parametrize("name", ["shaka-event-life", "shaka-event-second-stream", "shaka-event-rr", "shaka-event-default-version"])
def test_a_player_that_never_says_what_it_does_counts_as_watching_and_in_no_sum(tracker: Tracker, name: str) -> None:
    session = play(tracker, name)
    assert session.playback is Playback.PLAYING
    assert session.blind_player == "shaka-player"
    assert tracker.audience["blind_player", "shaka-player"] == 1
    tracker.advance(now=session.seen_at + 5_000, limit=9)
    tracker.advance(now=session.seen_at + 5_000, limit=9)
    found = figures(session)
    assert {found[name] for name in ("startup_time_s", "experience_score", "live_latency_s", "average_bitrate_bps")} == {None}
    assert {found[name] for name in ("playing_time_s", "rebuffering_time_s", "session_time_s")} == {0.0}
    assert {key[0] for key in tracker.take_changes().increments} <= {"clock_skew", "cmcd_reports", "events"}


def test_a_record_without_a_session_id_is_no_session(tracker: Tracker) -> None:
    assert [reports(post) for post in posts(WITHOUT_ID)] == [[]] * len(posts(WITHOUT_ID))
    session = play(tracker, WITHOUT_ID, url={"sid": "page-7"})
    assert session.session_id == "cmcd:\0page-7"


@pytest.mark.parametrize(
    "name", ["dash-event-500-then-204", "dash-event-answered-410", "shaka-event-500-then-204", "hls-event-500-then-204"]
)
def test_what_is_sent_again_and_again_counts_once(tracker: Tracker, name: str) -> None:
    session = play(tracker, name)
    reporter = session.reporter
    assert reporter is not None
    different = {report[:4] for post in posts(name) for each in reports(post) for report in each.reports}
    assert reporter.taken == len(different)
    assert reporter.repeated == sum(len(each.reports) for post in posts(name) for each in reports(post)) - len(different)
    assert tracker.ledger.started == 1


def test_reports_of_requests_change_no_state(tracker: Tracker) -> None:
    # An rr sent after the first frame says s, another r: the state of the moment of the request.
    session = play(tracker, "dash-event-rr")
    assert session.playback is Playback.PLAYING
    assert figures(session)["rebuffer_count"] == 0


def test_numbers_that_begin_again_are_another_run_and_nothing_is_lost(tracker: Tracker) -> None:
    for name in ("shaka-event-life", "hls-event-second-stream", "shakadebug-event-life"):
        session = play(tracker, name)
        tracker.advance(now=session.seen_at + 5_000, limit=9)
        reporter = session.reporter
        assert reporter is not None
        assert (reporter.lost, reporter.repeated) == (0, 0)


def test_another_stream_of_the_same_player_has_a_startup_of_its_own(tracker: Tracker) -> None:
    # First s at 77.948, p at 78.626; then d, s at 85.060, p at 85.199.
    session = play(tracker, "hls-event-second-stream")
    assert figures(session)["startup_time_s"] == pytest.approx(0.139, abs=0.001)
    tracker.advance(now=session.seen_at + 5_000, limit=9)
    increments = tracker.take_changes().increments
    assert increments["startup", "sum"] == pytest.approx(0.678 + 0.139, abs=0.001)
    assert increments["plays", "unknown"] == 2
    assert tracker.ledger.started == 1


def test_waiting_before_the_first_frame_is_starting(tracker: Tracker) -> None:
    session = play(tracker, "dash-event-life", until_ms=2_100)
    assert session.playback is Playback.STARTING


def test_a_seek_is_a_seek_however_a_player_spells_it(tracker: Tracker) -> None:
    # k, r, p of hls.js; k, w, p of dash.js.
    for name in ("hls-event-life", "dash-event-life"):
        account = play(tracker, name).settled()
        assert account.seek_rebuffers == 1


def test_values_that_some_reports_do_not_say_are_as_they_were_last_said(tracker: Tracker) -> None:
    session = play(tracker, "dash-event-life")
    reporter = session.reporter
    assert reporter is not None
    # Its t says neither bitrate nor buffer: the last ps said 400 + 64 kbps, and 4,000 and 2,000 ms.
    assert session.settled().bitrate == 464_000
    assert reporter.said[0] is not None
    assert reporter.said[0][1] == 2_000.0


def test_who_has_no_stream_yet_is_merely_shown(tracker: Tracker) -> None:
    for name in ("shaka-event-attached-without-stream", "hls-event-loaded-never-played"):
        session = play(tracker, name)
        assert session.playback is Playback.SHOWN
        tracker.advance(now=session.seen_at + 5_000, limit=9)
        tracker.advance(now=session.seen_at + 5_000, limit=9)
        found = figures(session)
        assert (found["exit_before_video_start"], found["experience_score"]) == (False, None)


def test_who_was_asked_to_play_and_never_does_is_no_viewer_after_five_minutes(tracker: Tracker) -> None:
    session = play(tracker, "dash-event-loaded-never-played")
    assert session.playback is Playback.STARTING
    body = posts("dash-event-loaded-never-played")[-1].body
    for later_s in range(30, 361, 30):
        at_ms = round((session.newest_at + 30) * 1_000)
        later = body.replace(b"sn=4", b"sn=%d" % (4 + later_s)).replace(body[body.index(b"ts=") : body.index(b",v=")], b"ts=%d" % at_ms)
        hear(tracker, Post(0, later), now=session.seen_at + 30)
    assert session.playback is Playback.STALLED


def test_an_error_is_counted_at_its_report_and_not_as_it_rides_on(tracker: Tracker) -> None:
    # dash.js says ec=25 with every t after its e.
    assert figures(play(tracker, "dash-event-manifest-404"))["errors"] == 1
    session = play(tracker, "hls-event-manifest-404")
    assert session.playback is Playback.FAILED
    assert (figures(session)["errors"], figures(session)["failure"]) == (1, "start")


def test_a_player_that_only_says_a_time_is_shown_and_gone(tracker: Tracker) -> None:
    assert play(tracker, "shaka-event-manifest-404").playback is Playback.SHOWN


# In any order, doubled, cut.


@pytest.mark.parametrize("name", [name for name in ALL if name != WITHOUT_ID])
def test_the_order_of_arrival_means_nothing(name: str) -> None:
    since, chance = began_at(name), random.Random(name)
    first = Tracker(7, policy=Policy())
    expected = {session_id: told(session) for session_id, session in _all_at_once(first, posts(name), since).items()}
    for _ in range(5):
        shuffled = [*posts(name), *posts(name)]
        chance.shuffle(shuffled)
        found = _all_at_once(Tracker(7, policy=Policy()), shuffled, since)
        assert {session_id: told(session) for session_id, session in found.items()} == expected


def _all_at_once(tracker: Tracker, sent: list[Post], since: float) -> dict[str, Session]:
    for number, post in enumerate(sent):
        hear(tracker, post, now=since + 80 + number / 1_000)
    tracker.validate()
    return dict(tracker.sessions)


@settings(max_examples=40)
@given(st.data())
def test_recorded_reports_in_any_order_doubled_and_cut_give_the_same_session_as_in_order_and_once(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([name for name in ALL if name != WITHOUT_ID]))
    since, every = began_at(name), posts(name)
    kept = data.draw(st.lists(st.sampled_from(range(len(every))), min_size=1, unique=True))
    doubled = data.draw(st.lists(st.sampled_from(kept)))
    mixed = data.draw(st.permutations([*kept, *doubled]))
    joined = data.draw(st.booleans())
    in_order = _all_at_once(Tracker(7, policy=Policy()), [every[place] for place in sorted(kept)], since)
    sent = [every[place] for place in mixed]
    if joined:
        sent = [Post(0, b"\n".join(post.body for post in sent))]
    found = _all_at_once(Tracker(7, policy=Policy()), sent, since)
    assert {session_id: told(session) for session_id, session in found.items()} == {
        session_id: told(session) for session_id, session in in_order.items()
    }


@pytest.mark.parametrize("name", [name for name in ALL if name != WITHOUT_ID])
def test_a_session_goes_on_after_its_shard_began_again(name: str) -> None:
    since, whole = began_at(name), Tracker(7, policy=Policy())
    broken = Tracker(7, policy=Policy())
    for post in posts(name):
        now = since + post.at_ms / 1_000
        hear(whole, post, now=now)
        stored = [codec.decode_session(codec.encode_session(session)) for session in broken.sessions.values()]
        broken = Tracker.restore(7, policy=Policy(), sessions=stored, ledger=broken.ledger, paused_s=broken.paused_s)
        hear(broken, post, now=now)
        broken.validate()
    assert {session_id: session.dump() for session_id, session in broken.sessions.items()} == {
        session_id: session.dump() for session_id, session in whole.sessions.items()
    }


@pytest.mark.parametrize("name", ["hls-event-life", "dash-event-life", "shaka-event-life", "shakadebug-event-life"])
def test_after_a_minute_without_the_tracker_everybody_is_counted_once_and_to_the_second(name: str) -> None:
    # Away from 20 s to 80 s of each life. Then every player sends again what was not answered, the whole queue with every
    # further report, shuffled.
    since, chance, viewers = began_at(name), random.Random(name), 20
    tracker, undisturbed = Tracker(7, policy=Policy()), told(play(Tracker(7, policy=Policy()), name))
    sid = reports(posts(name)[0])[0].session_id.partition("\0")[2].encode()
    flood: list[Post] = []
    for viewer in range(viewers):
        lives = [post._replace(body=post.body.replace(sid, b"viewer-%d" % viewer)) for post in posts(name)]
        for post in lives:
            if post.at_ms < 20_000:
                hear(tracker, post, now=since + post.at_ms / 1_000)
        queue = [post for post in lives if post.at_ms >= 20_000]
        flood += [post for again in range(len(queue)) for post in queue[: again + 1]]
    tracker.pause(60)
    chance.shuffle(flood)
    for number, post in enumerate(flood):
        hear(tracker, post, now=since + 80 + number / 1_000)
    tracker.validate()
    assert (tracker.ledger.active, tracker.ledger.started, tracker.ledger.expired) == (viewers, viewers, 0)
    found = [told(session) for session in tracker.sessions.values()]
    assert all(each == undisturbed for each in found)
