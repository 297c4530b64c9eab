"""
Every metric, declared once: type, unit, labels, help, and which keys of the core feed it.

It decides what exists; it does not know how numbers are added up (`totals.py`) or rendered (`collector.py`). Three
closed tables lead from the core's keys (`sessions/changes.py`) to a metric: `AUDIENCE`, `INCREMENTS` and `LEDGER`.
A key that none of them names is a broken invariant, never silence. A new metric is a new row here.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Final

from sessions import dimensions
from sessions.changes import Key
from sessions.errors import InvariantError
from sessions.events import BEACON_TYPES, DROPPABLE_FIELDS, END_REASONS, EVENT_TYPES, REPORT_KEYS, REPORT_OUTCOMES
from sessions.histograms import BOUNDS
from sessions.limits import OTHER_LABELS_MAX, STREAM_LABELS_MAX
from sessions.states import PLAYBACKS

PREFIX: Final = "headcount_"
STATES: Final = tuple(str(state) for state in PLAYBACKS)


class Kind(StrEnum):
    """How a metric behaves; the names are OpenMetrics'."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric, as Prometheus is told of it."""

    name: str
    """Without prefix, and without the `_total` of counters."""
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    """OpenMetrics' unit; the name then ends in it."""
    audience: str = ""
    """First entry of the audience keys that it shows."""
    increments: str = ""
    """First entry of the increment keys that it sums."""
    ledger: str = ""
    """Field of the ledger that it serves."""
    values: tuple[str, ...] = ()
    """The closed list of its last label: shown from the first scrape on, at zero, and nothing else is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """A label whose values players choose, so that it needs a bound."""

    label: str
    most: int
    """Values with a place of their own; the rest are `other`."""


def _gauge(name: str, text: str, *labels: str, unit: str = "", audience: str = "") -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, help=text, labels=labels, unit=unit, audience=audience)


def _by_stream(name: str, text: str, *labels: str, unit: str = "", increments: str, values: tuple[str, ...] = ()) -> Metric:
    return _counter(name, text, "stream_id", *labels, unit=unit, increments=increments, values=values)


def _counter(name: str, text: str, *labels: str, unit: str = "", increments: str = "", values: tuple[str, ...] = ()) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, help=text, labels=labels, unit=unit, increments=increments, values=values)


def _ledger(name: str, text: str, field: str) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, help=text, ledger=field)


def _histogram(name: str, text: str, *labels: str, unit: str = "", increments: str, values: tuple[str, ...] = ()) -> Metric:
    return Metric(name=name, kind=Kind.HISTOGRAM, help=text, labels=labels, unit=unit, increments=increments, values=values)


DIMENSIONS: Final[dict[str, Dimension]] = {
    "stream": Dimension(label="stream_id", most=STREAM_LABELS_MAX),
    **{each.name: Dimension(label=each.name, most=OTHER_LABELS_MAX) for each in dimensions.DIMENSIONS},
}
"""By first entry of the audience key. The platform and the connection are closed lists on the wire, and bounded all the same."""

SESSIONS: Final = Metric(
    name="sessions",
    kind=Kind.GAUGE,
    labels=("state",),
    values=STATES,
    audience="state",
    help="Sessions that are active now, by playback state; watching is playing + rebuffering + starting + ad.",
)
STREAM_SESSIONS: Final = _gauge(
    "stream_sessions", "Sessions that are active now, by stream and playback state.", "stream_id", "state", audience="stream"
)
STREAM_PEAK: Final = _gauge(
    "stream_sessions_peak", "Greatest number of active sessions in the last 60 s, at one-second resolution over all shards.", "stream_id"
)
SHARD_SESSIONS: Final = _gauge("shard_sessions", "Sessions that a shard remembers, in any liveness: active, expired or ended.", "shard")
SHARD_PENDING: Final = _gauge("shard_pending_calls", "Calls that wait in a shard, or are being worked on.", "shard")
SHARD_MAP: Final = _gauge("shard_map_version", "Sum of the epochs that a shard owns; grows with every change of ownership.", "shard")
SHARD_STRETCH: Final = _gauge(
    "shard_heartbeat_stretch",
    "How many times the configured heartbeat interval a shard promises now: 1 at rest, up to 4 under load.",
    "shard",
)
SHARD_RESTARTS: Final = _counter("shard_restarts", "Restarts of a shard.", "shard")
JOURNAL_UP: Final = _gauge("journal_up", "1 if the journal takes what every shard writes, 0 if not, or if no shard reports.")
UNWRITTEN: Final = _gauge("journal_unwritten_sessions", "Sessions with a change that is applied, but not yet in the journal.")
SET_ASIDE: Final = _gauge(
    "set_aside_records", "Stored sessions, and records of slots, that could not be read: kept apart in the journal, and not counted."
)
MISMATCHED: Final = _gauge(
    "mismatched_slots",
    "Slots whose record did not match the sessions in the journal when they were loaded: the journal has lost sessions.",
)
SNAPSHOT_AGE: Final = _gauge(
    "snapshot_age_seconds",
    "Age of the oldest shard report that the gauges use; since the exporter's start, if there is none.",
    unit="seconds",
)

CATALOG: Final[tuple[Metric, ...]] = (
    SESSIONS,
    STREAM_SESSIONS,
    STREAM_PEAK,
    *(
        _gauge(f"{each.name}_sessions", f"Sessions that are active now, {each.text}.", each.name, audience=each.name)
        for each in dimensions.DIMENSIONS
    ),
    _ledger("sessions_started", "Sessions opened by a start, or by a first beacon.", "started"),
    _ledger("sessions_provisional", "Sessions opened by anything but a start, because the start was late or lost.", "provisional"),
    _ledger("sessions_promoted", "Provisional sessions whose start came after all.", "promoted"),
    _ledger("sessions_revived", "Expired sessions that came back inside the revive window.", "revived"),
    _ledger("sessions_expired", "Sessions whose heartbeats stopped.", "expired"),
    Metric(
        name="sessions_ended",
        kind=Kind.COUNTER,
        labels=("reason",),
        values=END_REASONS,
        ledger="ended",
        help="Sessions whose player said that it left, by its reason.",
    ),
    _by_stream("playing_seconds", "Time spent playing, final up to a minute after it was spent.", unit="seconds", increments="playing"),
    _by_stream(
        "rebuffering_seconds",
        "Time spent waiting for data after the first frame, five minutes at most at a time.",
        unit="seconds",
        increments="rebuffering",
    ),
    _by_stream(
        "seek_rebuffering_seconds",
        "Time spent rebuffering because of a seek: what CIRR leaves out.",
        unit="seconds",
        increments="seek_rebuffering",
    ),
    _by_stream("paused_seconds", "Time spent paused.", unit="seconds", increments="paused"),
    _by_stream("ad_seconds", "Time spent in advertisements.", unit="seconds", increments="ad"),
    _by_stream("ad_errors", "Advertisements that could not be shown, as players reported.", increments="ad_errors"),
    _by_stream("exits_during_ad", "Sessions that were over during an advertisement.", increments="exits_during_ad"),
    _by_stream(
        "rebuffers",
        "Stalls after the first frame. Those that only the player counted are added when its session finishes, as caused by the connection.",
        "cause",
        increments="rebuffers",
        values=("connection", "seek"),
    ),
    _by_stream("played_bytes", "Bitrate times playing time, while the bitrate is known.", unit="bytes", increments="played_bytes"),
    _by_stream("bitrate_seconds", "Playing time for which the bitrate is known.", unit="seconds", increments="bitrate"),
    _by_stream("quality_switches", "Changes of quality after a session's first.", increments="quality_switches"),
    _by_stream("stream_errors", "Errors that players reported.", "fatal", increments="stream_errors", values=("false", "true")),
    _by_stream(
        "start_failures",
        "Sessions that failed before their first frame; counted 30 s after the fatal error, or at the end.",
        increments="start_failures",
    ),
    _by_stream(
        "playback_failures",
        "Sessions that failed after their first frame; counted 30 s after the fatal error, or at the end.",
        increments="playback_failures",
    ),
    _by_stream(
        "exits_before_start",
        "Sessions that ended without a frame or a failure a second or more after their start, or expired without either.",
        increments="exits_before_start",
    ),
    _by_stream("plays", "Sessions that showed a first frame.", increments="plays"),
    _histogram("startup_seconds", "From a session's start to its first frame, where both are known.", unit="seconds", increments="startup"),
    _histogram("live_latency_seconds", "Average latency behind live of sessions that are over.", unit="seconds", increments="live_latency"),
    _histogram(
        "session_seconds",
        "Length of sessions that are over: starting, playing, rebuffering, paused and in advertisements.",
        unit="seconds",
        increments="session",
    ),
    _histogram(
        "experience_score",
        "Experience score, 0-100, of sessions that have ended, or have been expired for ten minutes.",
        increments="experience_score",
    ),
    _histogram(
        "stream_startup_seconds", "Startup time by stream, in coarse buckets.", "stream_id", unit="seconds", increments="stream_startup"
    ),
    _histogram(
        "stream_live_latency_seconds",
        "Average latency behind live, of sessions that are over, by the stream that they ended on, in coarse buckets.",
        "stream_id",
        unit="seconds",
        increments="stream_live_latency",
    ),
    _histogram(
        "stream_experience_score",
        "Experience score, of sessions that are over, by the stream that they ended on, in coarse buckets.",
        "stream_id",
        increments="stream_experience_score",
    ),
    _histogram(
        "player_watch_difference_seconds",
        "Difference between the watch time that a player reports at its end and ours, as a positive number.",
        unit="seconds",
        increments="player_watch_difference",
    ),
    _histogram(
        "player_count_difference",
        "Difference between a count that a player reports at its end and ours, as a positive number.",
        "total",
        increments="player_count_difference",
        values=("rebuffers", "quality_switches"),
    ),
    _counter("events", "Events taken, by type; a duplicate is not counted again.", "type", increments="events", values=EVENT_TYPES),
    _counter("beacons", "Pixels taken, by type.", "type", increments="beacons", values=BEACON_TYPES),
    _counter("heartbeats", "Heartbeats taken.", increments="heartbeats"),
    _counter(
        "rejected",
        "Requests and events that were not taken; of endpoint front_door, those that HAProxy refused by itself.",
        "endpoint",
        "reason",
        increments="rejected",
    ),
    _counter(
        "dropped_fields",
        "Optional fields of requests that were taken without them, and values that were taken as other or unknown.",
        "endpoint",
        "field",
        increments="dropped_fields",
        values=DROPPABLE_FIELDS,
    ),
    _counter(
        "platform_dropped_fields",
        "The same optional fields, by the platform of the session.",
        "field",
        "platform",
        increments="platform_dropped_fields",
    ),
    _counter(
        "cmcd_reports",
        "Reports of players that report by themselves, by what became of them.",
        "player",
        "outcome",
        increments="cmcd_reports",
        values=REPORT_OUTCOMES,
    ),
    _counter(
        "cmcd_lost_reports",
        "Reports of such players that never came, by the gaps in their numbers.",
        "player",
        increments="cmcd_lost_reports",
    ),
    _counter(
        "cmcd_dropped_keys",
        "Keys of such reports whose value was none, or not plausible.",
        "player",
        "key",
        increments="cmcd_dropped_keys",
        values=REPORT_KEYS,
    ),
    _counter("duplicates", "Inputs that had been taken before, and changed nothing.", increments="duplicates"),
    _counter("late_events", "Inputs older than the reordering window: counted by type, but they change nothing.", increments="late_events"),
    _counter(
        "wild_timestamps",
        "Timestamps too far ahead of their session's clock: the order of its inputs begins again there.",
        increments="wild_timestamps",
    ),
    _histogram(
        "clock_skew_seconds",
        "Difference between the player's clock and the server's, as a positive number.",
        unit="seconds",
        increments="clock_skew",
    ),
    _histogram(
        "ingest_seconds",
        "From a request's arrival to its acknowledgement, journal included.",
        "endpoint",
        unit="seconds",
        increments="ingest_seconds",
    ),
    SHARD_SESSIONS,
    _histogram("shard_batch_events", "Requests that one call carried to a shard.", "shard", increments="batch_events"),
    _histogram("shard_commit_seconds", "Round trip of one commit to the journal.", "shard", unit="seconds", increments="commit_seconds"),
    SHARD_PENDING,
    SHARD_MAP,
    SHARD_STRETCH,
    SHARD_RESTARTS,
    JOURNAL_UP,
    UNWRITTEN,
    SET_ASIDE,
    MISMATCHED,
    SNAPSHOT_AGE,
)

AUDIENCE: Final = {metric.audience: metric for metric in CATALOG if metric.audience}
INCREMENTS: Final = {metric.increments: metric for metric in CATALOG if metric.increments}
LEDGER: Final = {metric.ledger: metric for metric in CATALOG if metric.ledger}
STREAM_PLACES: Final = {
    name: metric.labels.index("stream_id") - len(metric.labels) for name, metric in INCREMENTS.items() if "stream_id" in metric.labels
}
"""Where the stream is in an increment's key, from its end; by the key's first entry."""
BOUNDED: Final = {dimension.label: name for name, dimension in DIMENSIONS.items()}
"""Which dimension bounds a label, by the label's name."""


def labels_of(key: Key) -> tuple[Metric, Key]:
    """
    Return the metric that an increment key feeds, and its labels' values in order.

    A histogram's keys are (name, "le", bucket index, labels…) and (name, "sum", labels…). The label `shard` is not in
    the key: whoever adds the report knows it. Raises `InvariantError` for a key that no row of the catalog takes.
    """
    metric = INCREMENTS.get(key[0]) if key else None
    if metric is None:
        raise InvariantError("no metric takes this increment", story=key)
    if metric.kind is not Kind.HISTOGRAM:
        values = key[1:]
    elif key[1:2] == ("sum",):
        values = key[2:]
    elif key[1:2] == ("le",) and key[2:3] and key[2].isdecimal() and int(key[2]) <= len(BOUNDS[metric.increments]):
        values = key[3:]
    else:
        raise InvariantError("not a bucket of this histogram", story=key)
    if len(values) != len(metric.labels) - ("shard" in metric.labels):
        raise InvariantError(f"{metric.name} has the labels {metric.labels}", story=key)
    if metric.values and values[-1] not in metric.values:
        raise InvariantError(f"a label outside the closed list of {metric.name}", story=key)
    return metric, values


def check_amount(key: Key, amount: float) -> None:
    """Raise `InvariantError` unless the amount can be added to a counter."""
    if not (isfinite(amount) and amount >= 0):
        raise InvariantError("not an amount to add to a counter", story=(key, amount))


def takes(key: Key) -> bool:
    """Tell whether the catalog takes this key of an increment: a newer build may count what this one does not know."""
    try:
        labels_of(key)
    except InvariantError:
        return False
    return True


def shows(key: Key) -> bool:
    """Tell whether a gauge of the catalog shows this key of an audience."""
    metric = AUDIENCE.get(key[0]) if key else None
    return metric is not None and len(key) == len(metric.labels) + 1 and ("state" not in metric.labels or key[-1] in STATES)
