"""One viewer in the tracker and in the model, side by side, until both have forgotten it."""

from collections import Counter
from dataclasses import dataclass, field
from math import isclose

from sessions.changes import Policy
from sessions.events import Event
from sessions.tracker import Tracker
from tests.viewers.lives import Body, Life, live_one
from tests.viewers.reckoning import Key, Reckoning, told_of
from tests.viewers.wire_form import event_of

POLICY = Policy(heartbeat_interval_s=30, expiry_intervals=3, revive_window_s=1_800)
BY_STREAM = (
    "playing", "rebuffering", "seek_rebuffering", "paused", "ad", "bitrate", "played_bytes", "quality_switches", "rebuffers", "plays", "start_failures",
    "playback_failures", "exits_before_start", "exits_during_ad",
)  # fmt: skip
SECONDS = ("playing", "rebuffering", "seek_rebuffering", "paused", "ad", "bitrate", "played_bytes")
PLAIN = ("heartbeats", "duplicates", "late_events", "events", "beacons")
OBSERVED = ("startup", "experience_score", "session", "live_latency")


@dataclass
class Pair:
    """What both say of one viewer."""

    life: Life
    problems: list[str] = field(default_factory=list)


def reached(tracker: Tracker, now: float) -> None:
    """Do whatever falls due until now, each thing at its moment."""
    while (due_at := tracker.next_deadline()) is not None and due_at <= now:
        if not tracker.advance(now=due_at, limit=1_000):
            tracker.advance(now=due_at + 0.001, limit=1_000)


def beside(seed: str) -> Pair:
    """Live one life through both; return where they disagree."""
    life = live_one(seed)
    pair, model, tracker = Pair(life), Reckoning(life), Tracker(0, policy=POLICY)
    sums: Counter[Key] = Counter()
    body: Body = {}
    event: Event
    for number, request in enumerate(life.requests):
        if request.body is not body:
            # Else it is the same once more, by the other replica.
            body, event = request.body, event_of(request)
        reached(tracker, request.arrives)
        receipt = tracker.receive(event, now=request.arrives)
        expected = model.hear(request)
        if (receipt.accepted, receipt.accepted_count, len(receipt.rejected)) != expected:
            pair.problems.append(f"receipt of request {number}: {receipt}, not {expected}")
        if number % 16 == 5:
            compare_live(pair, number, tracker, event.session_id, model)
    end = (life.requests[-1].arrives if life.requests else 0.0) + 10_000
    reached(tracker, end)
    model.pass_until(end)
    model.pass_until(end)
    tracker.validate()
    for key, amount in tracker.take_changes().increments.items():
        sums[key] += amount  # type: ignore[assignment]
    compare_ledger(pair, tracker, model)
    compare_sums(pair, sums, model.counts)
    return pair


def compare_live(pair: Pair, number: int, tracker: Tracker, session_id: str, model: Reckoning) -> None:
    session, viewing = tracker.get(session_id), model.viewing
    if session is None or viewing is None:
        if (session is None) != (viewing is None):
            pair.problems.append(f"after request {number}: {session} and {viewing}")
        return
    if model.now < viewing.doubted_until + 90:
        # Its clock was set back, and whether it was is not known before the next heartbeat.
        return
    told = told_of(viewing)
    ours = (str(session.liveness), session.provisional, str(session.playback), session.stream_id, session.channel_id)
    theirs = (viewing.liveness, viewing.provisional, told.state, told.stream, told.channel)
    if ours != theirs:
        pair.problems.append(f"after request {number}: {ours}, not {theirs}")


def compare_ledger(pair: Pair, tracker: Tracker, model: Reckoning) -> None:
    ledger = tracker.ledger
    ours = {name: getattr(ledger, name) for name in ("started", "provisional", "promoted", "revived", "expired")}
    ours["ended"] = sum(ledger.ended.values())
    theirs = {name: model.ledger[name] for name in ours}
    if ours != theirs or ledger.active:
        pair.problems.append(f"ledger {ours}, not {theirs}")


def compare_sums(pair: Pair, ours: Counter[Key], theirs: Counter[Key]) -> None:
    mine: Counter[Key] = Counter()
    for key, amount in ours.items():
        if key[0] in BY_STREAM or key[0] in PLAIN:
            mine[key] += amount
        elif key[0] == "stream_errors":
            mine["stream_errors", key[2]] += amount
        elif key[0] == "ad_errors":
            mine["ad_errors",] += amount
        elif key[0] in OBSERVED and key[1] == "sum":
            mine[key] += amount
        elif key[0] in OBSERVED and key[1] == "le":
            mine[key[0], "count"] += amount
    for key in sorted(mine.keys() | theirs.keys()):
        exact = key[0] not in SECONDS and key[-1] != "sum"
        one, other = mine[key], theirs[key]
        if one != other if exact else not isclose(one, other, rel_tol=0.01, abs_tol=0.01):
            pair.problems.append(f"{key}: {one}, not {other}")


def story(pair: Pair) -> str:
    """Write down what a reader needs to see who is right."""
    lines = [
        f"{pair.life.name}: {', '.join(pair.life.what) or 'pixels'} (repeats {pair.life.repeats}, {sorted(pair.life.habits)})",
        *pair.problems,
    ]
    first = pair.life.requests[0].arrives if pair.life.requests else 0.0
    for number, request in enumerate(pair.life.requests):
        lines.append(f"  {number} →{request.arrives - first:+.1f} clock {request.clock} {request.path} {brief(request.body, first)}")
    return "\n".join(lines)


def brief(body: dict[str, object], first: float) -> str:
    said = {name: value for name, value in body.items() if name in ("playback", "performance", "stream_id", "type", "watch_summary")}
    at = body.get("timestamp")
    entries = body.get("events") or []
    assert isinstance(entries, list)
    told = [f"{entry['event_type']}@{entry['timestamp'] - first:.3f} {entry.get('metadata') or ''}" for entry in entries]
    return f"@{at - first:.3f} {said} {told}" if isinstance(at, float) else f"{said} {told}"
