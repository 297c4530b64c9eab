"""The dashboard *Tracker*: whether the numbers of the other two can be believed, and what the tracker itself is doing."""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import (
    COUNT,
    PER_SECOND,
    RATIO,
    REQUESTS_PER_SECOND,
    SECONDS,
    SHARD,
    Levels,
    Line,
    Rows,
    assemble,
    chart,
    number,
    percentile,
    several,
)

ANSWERED_S = Levels(yellow=0.1, red=0.5)
COMMITTED_S = Levels(yellow=0.05, red=0.2)
FRESH_S = Levels(yellow=2, red=5)
UNWRITTEN = Levels(yellow=1_000, red=10_000)
OFF = Levels(yellow=1, red=2)
ODD = Levels(yellow=1, red=100)
MISSING = Levels(yellow=0.5, red=1)
REFUSED = Levels(yellow=0.01, red=0.05)
STRETCHED = Levels(yellow=1.01, red=4)
RESTARTED = Levels(yellow=1, red=5)

ROWS: Final[Rows] = {
    "Now": (
        number(
            "Journal",
            "1 if the journal takes what every shard writes; else players are answered 503 and the number stands still.",
            "min(headcount_journal_up)",
            unit=COUNT,
            levels=Levels(yellow=1, red=0.5, falling=True),
        ),
        number(
            "Age of the numbers",
            "Age of the oldest shard report that the gauges use.",
            "max(headcount_snapshot_age_seconds)",
            unit=SECONDS,
            levels=FRESH_S,
        ),
        number(
            "Not yet in the journal",
            "Sessions with a change that is applied, but not yet durable, and therefore not yet acknowledged.",
            "sum(headcount_journal_unwritten_sessions)",
            unit=COUNT,
            levels=UNWRITTEN,
        ),
        number(
            "Ledger",
            "How far the active sessions are from what the ledger says (started + provisional + revived - ended - expired): zero, except for some "
            "seconds after a shard was lost.",
            "abs(sum(headcount_sessions) - (sum(headcount_sessions_started_total) + sum(headcount_sessions_provisional_total)"
            " + sum(headcount_sessions_revived_total) - sum(headcount_sessions_ended_total) - sum(headcount_sessions_expired_total)))",
            unit=COUNT,
            levels=OFF,
        ),
        number(
            "Set aside",
            "Stored sessions, and records of slots, that could not be read: kept apart in the journal, and not counted.",
            "sum(headcount_set_aside_records)",
            unit=COUNT,
            levels=ODD,
        ),
        number(
            "Slots with sessions missing",
            "Slots whose record did not match the sessions in the journal when they were loaded: the journal has lost sessions.",
            "sum(headcount_mismatched_slots)",
            unit=COUNT,
            levels=MISSING,
        ),
        number(
            "Shards lost",
            "How many fewer shards report than in the last ten minutes; their slots are owned elsewhere within 15 s.",
            "max_over_time(count(headcount_shard_sessions)[10m:15s]) - count(headcount_shard_sessions)",
            unit=COUNT,
            levels=OFF,
        ),
        number(
            "Refused",
            "Part of the requests to one endpoint that was refused in the last five minutes, of the endpoint with the most. `session_ended` does not count here.",
            "max(job_endpoint:headcount_refused_ratio:rate5m)",
            unit=RATIO,
            levels=REFUSED,
        ),
        number(
            "Stretch",
            "How many times the configured heartbeat interval players are promised, at most: above 1 a shard has more to do than it can.",
            "max(headcount_shard_heartbeat_stretch)",
            unit=COUNT,
            levels=STRETCHED,
        ),
        number(
            "Restarts in an hour",
            "How often shards died and were started again. Nothing that was acknowledged is lost by it.",
            "sum(increase(headcount_shard_restarts_total[1h]))",
            unit=COUNT,
            levels=RESTARTED,
        ),
    ),
    "What comes in": (
        chart(
            "Requests",
            "Requests per second that were acknowledged, by endpoint.",
            Line("sum by (endpoint) (rate(headcount_ingest_seconds_count[1m]))", "{{endpoint}}"),
            unit=REQUESTS_PER_SECOND,
            stacked=True,
        ),
        chart(
            "Time to acknowledge",
            "From a request's arrival to its acknowledgement, journal included; 95th and 99th percentile by endpoint.",
            Line(percentile(0.95, "headcount_ingest_seconds", "endpoint"), "{{endpoint}}, 95th"),
            Line(percentile(0.99, "headcount_ingest_seconds", "endpoint"), "{{endpoint}}, 99th"),
            unit=SECONDS,
            levels=ANSWERED_S,
        ),
        chart(
            "Inputs taken",
            "Heartbeats, events by type and pixels by type, per second. A duplicate is not counted again.",
            Line("sum(rate(headcount_heartbeats_total[1m]))", "heartbeats"),
            Line("sum by (type) (rate(headcount_events_total[1m])) > 0", "event: {{type}}"),
            Line("sum by (type) (rate(headcount_beacons_total[1m]))", "pixel: {{type}}"),
            unit=PER_SECOND,
        ),
        chart(
            "Refused by reason",
            "Requests and events per second that were not taken. `session_ended` is normal.",
            Line("sum by (endpoint, reason) (rate(headcount_rejected_total[1m]))", "{{endpoint}}: {{reason}}"),
            unit=PER_SECOND,
        ),
        chart(
            "Unusual, but accepted",
            "Inputs per second that came twice, came too late to be measured, or carry a time far ahead of their session's clock; and starts "
            "that came after other inputs of their session.",
            Line("sum(rate(headcount_duplicates_total[1m]))", "duplicates"),
            Line("sum(rate(headcount_late_events_total[1m]))", "late"),
            Line("sum(rate(headcount_wild_timestamps_total[1m]))", "wild clock"),
            Line("sum(rate(headcount_sessions_promoted_total[1m]))", "late starts"),
            unit=PER_SECOND,
        ),
        chart(
            "Fields dropped",
            "Fields of requests that were taken without them, or as `other` or `unknown`, per second: by endpoint, and by the platform of the session.",
            Line("sum by (endpoint, field) (rate(headcount_dropped_fields_total[5m])) > 0", "{{endpoint}}: {{field}}"),
            Line("sum by (platform, field) (rate(headcount_platform_dropped_fields_total[5m])) > 0", "{{platform}}: {{field}}"),
            unit=PER_SECOND,
        ),
        chart(
            "Players' clocks",
            "Difference between the players' clocks and ours, in either direction. It changes no duration.",
            Line(percentile(0.5, "headcount_clock_skew_seconds"), "median"),
            Line(percentile(0.95, "headcount_clock_skew_seconds"), "95th percentile"),
            unit=SECONDS,
        ),
    ),
    "Shards and journal": (
        chart(
            "Time of a commit",
            "Round trip to the journal, 99th percentile by shard. Nothing is acknowledged before it.",
            Line(percentile(0.99, "headcount_shard_commit_seconds", "shard", where=SHARD), "{{shard}}"),
            unit=SECONDS,
            levels=COMMITTED_S,
        ),
        chart(
            "Commits",
            "Commits per second, by shard.",
            Line(f"sum by (shard) (rate(headcount_shard_commit_seconds_count{{{SHARD}}}[1m]))", "{{shard}}"),
            unit=PER_SECOND,
        ),
        chart(
            "Requests in a batch",
            "How many requests one call carries to a shard, on average: it grows with the load, and calls get cheaper.",
            Line(
                f"sum by (shard) (rate(headcount_shard_batch_events_sum{{{SHARD}}}[1m]))"
                f" / (sum by (shard) (rate(headcount_shard_batch_events_count{{{SHARD}}}[1m])) > 0)",
                "{{shard}}",
            ),
            unit=COUNT,
        ),
        chart(
            "Calls waiting",
            "Calls that wait in a shard, or are being worked on. It stays low while the shard keeps up.",
            Line(f"sum by (shard) (headcount_shard_pending_calls{{{SHARD}}})", "{{shard}}"),
            unit=COUNT,
        ),
        chart(
            "Stretch of the heartbeat interval",
            "How many times the configured interval players are promised, by shard: 1 at rest, up to 4 before anything is refused.",
            Line(f"max by (shard) (headcount_shard_heartbeat_stretch{{{SHARD}}})", "{{shard}}"),
            unit=COUNT,
            levels=STRETCHED,
        ),
        chart(
            "Sessions by shard",
            "Sessions that a shard remembers, in any liveness: active, expired or ended.",
            Line(f"sum by (shard) (headcount_shard_sessions{{{SHARD}}})", "{{shard}}"),
            unit=COUNT,
            stacked=True,
        ),
        chart(
            "Restarts",
            "Restarts of a shard since it was first started, and how often slots changed hands (sum of its epochs).",
            Line(f"sum by (shard) (headcount_shard_restarts_total{{{SHARD}}})", "{{shard}}: restarts"),
            Line(f"sum by (shard) (headcount_shard_map_version{{{SHARD}}})", "{{shard}}: epochs"),
            unit=COUNT,
        ),
        chart(
            "Age of the numbers, and what is not written",
            "Age of the oldest report in use, in seconds; sessions not yet in the journal; whether the journal answers.",
            Line("max(headcount_snapshot_age_seconds)", "age, seconds"),
            Line("sum(headcount_journal_unwritten_sessions)", "unwritten sessions"),
            Line("min(headcount_journal_up)", "journal up"),
            unit=COUNT,
            wide=True,
        ),
    ),
}


def build() -> Dashboard:
    """Return the dashboard."""
    shards = several("shard", "Shard", "Shards that reported in the time shown.", metric="headcount_shard_sessions", of="shard")
    return assemble(
        "Tracker",
        "Can the numbers be believed? What comes in, what is refused, what is written, and by whom.",
        variables=(shards,),
        rows=ROWS,
    )
