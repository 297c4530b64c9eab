"""
Every formula of `docs/metrics.md`, each once.

They read a session or its account and change nothing. Seconds, bits/s, ratios 0-1; None wherever a value is unknown, which is never zero.
"""

from math import exp, sqrt

from sessions.account import ANOTHER_CLOCK, FAILURES, NEVER, Account
from sessions.limits import STARTUP_S_MAX
from sessions.session import Session
from sessions.states import Liveness


def watch_time_s(account: Account) -> float:
    """`watch_time`: playing + rebuffering."""
    watched: float = account.playing_s + account.rebuffering_s
    return watched


def session_time_s(account: Account) -> float:
    """How long somebody wanted to watch: starting, playing, rebuffering, paused, advertisements; neither shown, stalled nor failed."""
    spent: float = account.starting_s + account.playing_s + account.rebuffering_s + account.paused_s + account.ad_s
    return spent


def rebuffer_count(session: Session, account: Account) -> int:
    """`rebuffer_count`: the larger of ours and the player's counter; `account` is the session's, as it is wanted."""
    count: int = max(account.rebuffers, session.player_rebuffers)
    return count


def rebuffering_ratio(account: Account) -> float | None:
    """Rebuffering / (playing + rebuffering), 0-1; None: nothing was watched."""
    watched = watch_time_s(account)
    return account.rebuffering_s / watched if watched > 0 else None


def connection_induced_rebuffering_ratio(account: Account) -> float | None:
    """CIRR: the same without the stalls that a seek caused."""
    watched = watch_time_s(account)
    return (account.rebuffering_s - account.seek_rebuffering_s) / watched if watched > 0 else None


def average_bitrate_bps(account: Account) -> float | None:
    """Σ bitrate·dt / Σ dt over the playing time for which a bitrate is known; None: it never was."""
    known = account.bitrate_s
    return account.bits / known if known > 0 else None


def live_latency_s(account: Account) -> float | None:
    """`live_latency`: the same weighting of the latency; seconds."""
    known = account.latency_s
    return account.latency_us_s / known / 1e6 if known > 0 else None


def experience_score(*, success: int, startup_time_s: float | None, rebuffers: int, ratio: float, showed_frame: bool) -> float:
    """
    Return the experience score, 0-100 (`docs/metrics.md`; every part is a published curve).

    `success` is 100 (played), 50 (left before the video started) or 0 (failed).
    """
    if not showed_frame:
        return success * 0.5
    smoothness = 50.0 / sqrt(1.0 + (rebuffers / 2.0) ** 2) + 50.0 * exp(-10.0 * ratio)
    if startup_time_s is None:
        return success / 100.0 * smoothness
    startup = 100.0 * 8.0 / (8.0 + startup_time_s)
    return success / 100.0 * (0.4 * startup + 0.6 * smoothness)


def startup_time_s(account: Account) -> float | None:
    """`startup_time`: first frame - start, less the advertisements between; None if either is unknown (a provisional session has no start)."""
    if NEVER in (account.first_frame_at, account.started_at):
        return None
    return startup_between_s(account.started_at, account.first_frame_at)


def startup_between_s(started_at: float, first_frame_at: float) -> float | None:
    """`startup_time` of a session of which both times are known; None where they cannot be those of one startup."""
    startup_s = first_frame_at - started_at
    return startup_s if 0.0 <= startup_s <= STARTUP_S_MAX else None


def exited_before_start(session: Session, account: Account | None = None) -> bool:
    """EBVS: started (not provisional, not merely shown), over without a frame or a failure: expired, or ended after at least a second."""
    account = account or session.settled()
    if session.liveness is Liveness.ACTIVE or session.provisional or session.is_beacon or account.frame or account.failure:
        return False
    if session.reporter is not None and account.started_at == NEVER:
        return False  # merely shown, as far as its player has told
    if session.liveness is Liveness.EXPIRED:
        return True  # whoever waited for longer than was promised waited for long enough
    # A start that came too late for the window, or by another clock, has no place in time, but it was more than a second ago.
    asked_for: float = session.newest_at - account.started_at
    return asked_for >= 1.0 or account.started_at == ANOTHER_CLOCK


def score(session: Session, account: Account | None = None) -> float | None:
    """Return the experience score, 0-100, of a session that is over; None while it is active, or was only shown."""
    if session.liveness is Liveness.ACTIVE or (session.is_beacon and not session.frame) or session.blind_player is not None:
        return None
    account = account or session.settled()
    played = _has_played(account)
    if session.reporter is not None and account.started_at == NEVER and not (played or account.failure):
        return None
    success = 0 if account.failure else 100 if played else 50
    return experience_score(
        success=success,
        startup_time_s=startup_time_s(account),
        rebuffers=rebuffer_count(session, account),
        ratio=rebuffering_ratio(account) or 0.0,
        showed_frame=played,
    )


def _has_played(account: Account) -> bool:
    """Tell whether anything was played: before another stream was loaded, too."""
    return bool(account.frame or account.playing_s)


def figures(session: Session) -> dict[str, object]:
    """Return the account in the names that `docs/metrics.md` explains, provisional time included; seconds, bits/s, ratios 0-1; None: unknown."""
    account = session.settled()
    return {
        "startup_time_s": startup_time_s(account),
        "starting_time_s": account.starting_s,
        "playing_time_s": account.playing_s,
        "rebuffering_time_s": account.rebuffering_s,
        "paused_time_s": account.paused_s,
        "ad_time_s": account.ad_s,
        "session_time_s": session_time_s(account),
        "watch_time_s": watch_time_s(account),
        "rebuffering_ratio": rebuffering_ratio(account),
        "connection_induced_rebuffering_ratio": connection_induced_rebuffering_ratio(account),
        "rebuffer_count": rebuffer_count(session, account),
        "quality_switches": account.switches,
        "average_bitrate_bps": average_bitrate_bps(account),
        "live_latency_s": live_latency_s(account),
        "played": _has_played(account),
        "errors": session.tallies.errors,
        "failure": FAILURES[account.failure],
        "exit_before_video_start": exited_before_start(session, account),
        "experience_score": score(session, account),
        "player_total_watch_s": None if session.own_ending is None else session.own_ending.total_watch_s,
    }
