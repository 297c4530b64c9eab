"""
One session's explanation: why it is, or is not, counted, and what was made of what its player sent.

Four parts, all JSON-ready. *Story*: what became of it, on our clock. *Intervals*: every state with the seconds it counted for, on the
player's clock, those provisional included that are still in the window. *Counters*: what it adds to which. *Ignored*: which inputs moved
nothing, and why. A session keeps what is needed as packed bytes (`history.py`); here they get their words.
"""

from typing import Final

from sessions.account import Account
from sessions.dimensions import DIMENSIONS, STREAM
from sessions.events import END_REASONS, shown_id
from sessions.history import BY_SEEK, LOST_STREAM, SILENCE, Interval, What, Why, ignored_of, intervals_of, state_of
from sessions.qoe import exited_before_start, figures
from sessions.reporter import describe_reporter
from sessions.session import Session
from sessions.states import PLAYBACKS, Liveness, Playback

_WORDS: Final = {
    What.STARTED: "started",
    What.PROVISIONAL: "opened provisionally: its start had not arrived",
    What.PROMOTED: "its start arrived after all",
    What.EXPIRED: "expired: no sign of life within the promised time",
    What.REVIVED: "revived: a sign of life after it had expired",
    What.ENDED: "ended",
    What.PLAYBACK: "playback",
    What.STREAM: "moved to another stream",
    What.WILD_CLOCK: "a timestamp was more than 60 s ahead of its clock: the order of its inputs begins again there",
    What.ERROR: "stream error",
}
_WHY: Final = {
    Why.REPEATED: "sent again: only the first counts",
    Why.OLDER: "not newer than the newest heartbeat: it only proved that the player was alive",
    Why.LATE: "more than 60 s older than the newest input, or than what was already added up: counted by its type, but it changed nothing",
    Why.AFTER_END: "the session had ended",
}
_COUNTED_AS: Final = {
    Playback.STARTING: "starting_time",
    Playback.PLAYING: "playing_time",
    Playback.REBUFFERING: "rebuffering_time",
    Playback.PAUSED: "paused_time",
    Playback.AD: "ad_time",
    Playback.STALLED: "stalled_time",
}
"""Time shown or failed counts for nothing."""


def _entry(at: float, what: int, detail: int) -> dict[str, object]:
    kind = What(what)
    entry: dict[str, object] = {"at": at, "what": kind.name.lower(), "text": _WORDS[kind]}
    if kind is What.ENDED:
        entry["reason"] = END_REASONS[detail]
    elif kind is What.PLAYBACK:
        entry["playback"] = str(PLAYBACKS[detail])
    elif kind is What.ERROR:
        entry["fatal"] = bool(detail)
    elif kind is What.WILD_CLOCK and detail:
        entry["text"] = "its clock was set back: the order of its inputs begins again there"
    return entry


def explain(session: Session, *, now: float, remaining_s: float) -> str:
    """Say in one sentence why the session counts, or does not; `remaining_s` until its deadline."""
    silent_s = max(0.0, now - session.seen_at)
    if session.liveness is Liveness.ACTIVE:
        kind = "provisionally (its start never arrived) " if session.provisional else ""
        return (
            f"counted {kind}as {session.playback}: last sign of life {silent_s:.1f} s ago, expires in {remaining_s:.1f} s without another"
        )
    if session.liveness is Liveness.EXPIRED:
        return f"not counted: expired, with its last sign of life {silent_s:.1f} s ago; another within {remaining_s:.0f} s revives it"
    return f"not counted: the player ended it ({session.end_reason})"


def describe(session: Session, *, now: float, remaining_s: float = 0.0) -> dict[str, object]:
    """Return one session in full, JSON-ready but for its opaque bytes (`profile`, `vitals`, `farewell`); times in s since the epoch."""
    return {
        "session_id": shown_id(session.session_id),
        "liveness": str(session.liveness),
        "counted": session.liveness is Liveness.ACTIVE,
        "why": explain(session, now=now, remaining_s=remaining_s),
        **attributes(session),
        "created_at": session.created_at,
        "seen_at": session.seen_at,
        "expires_in_s": round(remaining_s, 3) if session.liveness is Liveness.ACTIVE else None,
        "heartbeat_interval_s": session.interval_s,
        "clock_offset_s": session.offset if session.offset != float("-inf") else None,
        "account": figures(session),
        "counters": counters(session),
        "ignored": ignored(session),
        "intervals": intervals(session),
        "intervals_forgotten_s": forgotten_s(session),
        "story": [_entry(*entry) for entry in session.story_entries()],
        "profile": session.profile,
        "vitals": session.vitals,
        **({} if session.reporter is None else {"reporter": describe_reporter(session.reporter)}),
        "farewell": b"" if session.own_ending is None else session.own_ending.farewell,
    }


def attributes(session: Session) -> dict[str, object]:
    """Return what the session is about: state and dimensions."""
    return {
        "playback": str(session.playback),
        "visible": session.pixel is None or session.pixel.visible,
        "provisional": session.provisional,
        "beacon": session.is_beacon,
        STREAM: session.stream_id,
        **{dimension.attribute: getattr(session, dimension.attribute) for dimension in DIMENSIONS},
        "program_title": session.program_title,
        "end_reason": session.end_reason,
    }


def intervals(session: Session) -> list[dict[str, object]]:
    """
    Return every state with its interval, oldest first; times on the player's clock.

    `counted_s` is less than `seconds` if two inputs in it were further apart than the promise (`capped`), or if the time counts for
    nothing. What is `provisional` is in no counter yet. It ends at the last input, never at `now`.
    """
    account = session.settled()
    folded = intervals_of(session.intervals)
    begun: list[Interval] = [*folded, *account.begun]
    ends = [*begun[1:], (account.at, account.counted_s, 0, SILENCE)]
    names = (*session.streams, session.stream_id)
    told = []
    for number, ((since, before_s, stream, kind), (until, after_s, *_)) in enumerate(zip(begun, ends, strict=False)):
        if kind == SILENCE:
            continue
        state = PLAYBACKS[state_of(kind)]
        counted_as = _COUNTED_AS.get(state)
        counted_s, seconds = round(after_s - before_s, 6), round(until - since, 6)
        one: dict[str, object] = {
            "state": str(state),
            "stream_id": None if stream == LOST_STREAM else names[min(stream, len(session.streams))],
            "from": since,
            "to": until,
            "seconds": seconds,
            "counted_s": counted_s,
            "counted_as": counted_as,
            "capped": counted_as is not None and counted_s < seconds,
            "provisional": number >= len(folded) - 1 and session.liveness is Liveness.ACTIVE,
        }
        if state is Playback.REBUFFERING:
            one["cause"] = "seek" if kind & BY_SEEK else "connection"
        told.append(one)
    return told


def forgotten_s(session: Session) -> float:
    """Return the seconds that were counted before the first interval that the story still has."""
    account = session.settled()
    begun = (*intervals_of(session.intervals), *account.begun)
    return round(begun[0][1] if begun else account.counted_s, 6)


def counters(session: Session) -> list[dict[str, object]]:
    """
    Return what the session adds to counters, and why; what is nothing is left out.

    `amount` is all of it; the `provisional` part of it is still in the window, and in no counter yet.
    """
    if session.blind_player is not None:
        return []  # it never says what it does
    now, final, tallies = session.settled(), Account(session.account), session.tallies
    failed, told = tallies.failures or now.failure, tallies.failures
    rows: list[tuple[str, float, float, str]] = [
        ("playing_seconds", now.playing_s, final.playing_s, "time in playing"),
        ("rebuffering_seconds", now.rebuffering_s, final.rebuffering_s, "time in rebuffering"),
        ("seek_rebuffering_seconds", now.seek_rebuffering_s, final.seek_rebuffering_s, "of it: stalls that a seek caused"),
        ("paused_seconds", now.paused_s, final.paused_s, "time in paused"),
        ("ad_seconds", now.ad_s, final.ad_s, "time in advertisements"),
        ("bitrate_seconds", now.bitrate_s, final.bitrate_s, "playing time for which a bitrate was known"),
        ("played_bytes", now.bits / 8, final.bits / 8, "bitrate times that time"),
        ("plays", now.frame, final.frame, "a first frame was shown"),
        ("rebuffers, connection", _by_connection(now), _by_connection(final), "stalls that no seek caused"),
        ("rebuffers, seek", now.seek_rebuffers, final.seek_rebuffers, "stalls within 5 s of a seek"),
        ("quality_switches", now.switches, final.switches, "changes of quality after the first"),
        ("start_failures", failed == 1, told == 1, "a fatal error, or an end with the reason error, before the first frame"),
        (
            "playback_failures",
            failed == _PLAYBACK_FAILURE,
            told == _PLAYBACK_FAILURE,
            "the same after the first frame",
        ),
    ]
    # The first two are final as soon as they are counted.
    errors, added, exited = tallies.errors, tallies.stalls_added, exited_before_start(session, now)
    rows += [
        ("stream_errors", errors, errors, "counted as they arrived"),
        ("rebuffers, connection", added, added, "stalls that only the player's own counter knows"),
        (
            "exits_before_start",
            exited,
            exited and tallies.outcomes,
            "ended without a frame or a failure after at least a second, or expired without either",
        ),
    ]
    return [
        {"what": what, "amount": round(amount, 6), "provisional": round(amount - so_far, 6), "why": why}
        for what, amount, so_far, why in rows
        if amount
    ]


_PLAYBACK_FAILURE: Final = 2


def _by_connection(account: Account) -> int:
    stalls: int = account.rebuffers - account.seek_rebuffers - account.cause_open
    return stalls


def ignored(session: Session) -> dict[str, object]:
    """Return how many inputs moved nothing, and the last of them with its reason; `at` on our clock, `stamped` on the player's."""
    tallies = session.tallies
    last = [
        {"at": now, "stamped": at, "input": what, "reason": why.name.lower(), "text": _WHY[why]}
        for now, at, what, why in ignored_of(session.ignored)
    ]
    return {"duplicates": tallies.duplicates, "late": tallies.late, "wild_timestamps": tallies.wild, "last": last}
