"""
What a session's life adds to the counters of quality (`docs/metrics.md`): from formulas to increments.

Theory of operation: what inputs add (time, stalls, plays, failures, startups) comes as `Gains`, at the moment at which they leave
the reordering window, because only then it is final. What only the whole session tells (its length, latency and score, an exit
before the start) is counted when it has ended, or has been expired for ten minutes: once, however often it revives. A failure is told sooner,
30 s after a fatal error that nothing playing has followed. How far its player's own totals
are from ours when the player says them, which is at its end. The tracker writes all of it in one commit with the session
that it was counted of, so a crash repeats neither or both.
"""

from collections.abc import Mapping

from sessions.account import FAILURES, Account
from sessions.changes import Increments, Key
from sessions.events import End
from sessions.gains import Gain
from sessions.histograms import observe
from sessions.qoe import (
    exited_before_start,
    live_latency_s,
    rebuffer_count,
    score,
    session_time_s,
    startup_between_s,
    watch_time_s,
)
from sessions.session import Session
from sessions.states import Playback


def add_gains(increments: Increments, gains: Mapping[str, Gain]) -> None:
    """Add what folded inputs gained to `increments`, which know nothing yet of these seconds, in place; by stream."""
    for stream_id, gain in gains.items():
        # The usual one comes of a heartbeat: some time, its bitrate known, and nothing else.
        if gain.playing_s:
            increments["playing", stream_id] = gain.playing_s
            if gain.bitrate_s:
                increments["bitrate", stream_id] = gain.bitrate_s
                increments["played_bytes", stream_id] = gain.bits / 8
        if gain.rebuffering_s:
            increments["rebuffering", stream_id] = gain.rebuffering_s
            if gain.seek_rebuffering_s:
                increments["seek_rebuffering", stream_id] = gain.seek_rebuffering_s
        if gain.paused_s:
            increments["paused", stream_id] = gain.paused_s
        if gain.ad_s:
            increments["ad", stream_id] = gain.ad_s
        if gain.happened:
            _add_happened(increments, stream_id, gain)


def _add_happened(increments: Increments, stream_id: str, gain: Gain) -> None:
    for key, count in (
        (("rebuffers", stream_id, "connection"), gain.stalls - gain.seek_stalls),
        (("rebuffers", stream_id, "seek"), gain.seek_stalls),
        (("quality_switches", stream_id), gain.switches),
        (("plays", stream_id), gain.plays),
    ):
        if count:
            _add(increments, key, count)
    for started_at, first_frame_at in gain.startups:
        startup_s = startup_between_s(started_at, first_frame_at)
        if startup_s is not None:
            observe(increments, "startup", startup_s)
            observe(increments, "stream_startup", startup_s, stream_id)


def add_finish(increments: Increments, session: Session, account: Account) -> None:
    """
    Add what every finish of a session tells; `account` is what `stop` returned.

    Stalls that only the player's own counter knows are the connection's: whose seek would have caused them is not known. What
    was added of them stays, so after a revival the count may exceed `rebuffer_count` by what both then counted.
    """
    unseen = rebuffer_count(session, account) - account.rebuffers - session.tallies.stalls_added
    if unseen > 0:
        session.tally(stalls_added=unseen)
        _add(increments, ("rebuffers", session.stream_id, "connection"), unseen)


def add_outcome(increments: Increments, session: Session) -> None:
    """Add how it went: once for each viewing, when it has ended, or has been expired for so long that it will not come back."""
    if session.tallies.outcomes:
        return
    session.tally(outcomes=1)
    account = session.settled()
    add_failure(increments, session, account)
    if account.playback is Playback.AD:
        _add(increments, ("exits_during_ad", session.stream_id), 1)
    if exited_before_start(session, account):
        _add(increments, ("exits_before_start", session.stream_id), 1)
    latency_s = live_latency_s(account)
    if latency_s is not None:
        observe(increments, "live_latency", latency_s)
        observe(increments, "stream_live_latency", latency_s, session.stream_id)
    experienced = score(session, account)
    if experienced is not None:
        observe(increments, "experience_score", experienced)
        observe(increments, "stream_experience_score", experienced, session.stream_id)
        observe(increments, "session", session_time_s(account))


def add_failure(increments: Increments, session: Session, account: Account) -> None:
    """Add the failure that stands: a fatal error that nothing playing has followed, or an end for an error; at most one per viewing."""
    if account.failure and not session.tallies.failures:
        session.tally(failures=account.failure)
        kind = "start_failures" if account.failure == FAILURES.index("start") else "playback_failures"
        _add(increments, (kind, session.stream_id), 1)


def add_differences(increments: Increments, session: Session, end: End) -> None:
    """Add how far the player's own totals are from ours, without the sign; the session has just ended, which it does once."""
    account = session.settled()
    if end.total_watch_s is not None:
        observe(increments, "player_watch_difference", abs(end.total_watch_s - watch_time_s(account)))
    for total, said, ours in (
        ("rebuffers", end.rebuffer_count, account.rebuffers),
        ("quality_switches", end.quality_switches, account.switches),
    ):
        if said is not None:
            observe(increments, "player_count_difference", abs(said - ours), total)


def add_error(increments: Increments, stream_id: str, *, fatal: bool) -> None:
    """Add one `stream_error`, counted as it is taken, late or not."""
    _add(increments, ("stream_errors", stream_id, "true" if fatal else "false"), 1)


def _add(increments: Increments, key: Key, amount: float) -> None:
    increments[key] = increments.get(key, 0) + amount
