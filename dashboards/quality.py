"""The dashboard *Quality*: how it goes for those who watch, by the formulas of `docs/metrics.md`, through the recording rules."""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import (
    BITS_PER_SECOND,
    COUNT,
    LINES_MAX,
    PER_SECOND,
    RATIO,
    SECONDS,
    STREAM,
    Levels,
    Line,
    Rows,
    assemble,
    biggest,
    chart,
    number,
    percentile,
    stream_variable,
)

REBUFFERING = Levels(yellow=0.02, red=0.05)
FAILED = Levels(yellow=0.02, red=0.05)
BROKEN_OFF = Levels(yellow=0.1, red=0.2)
STARTUP_S = Levels(yellow=2, red=5)
LATENCY_S = Levels(yellow=10, red=30)
SCORE = Levels(yellow=75, red=50, falling=True)
"""Red where an alert fires, if there is one."""
COUNTED: Final = "Counted when a session ends, or ten minutes after it expired."
"""Of what only a whole session tells."""
COUNTED_FAILED: Final = "Counted 30 s after a fatal error that the player did not get over, or when it ends the session for an error."

ROWS: Final[Rows] = {
    "Now, over all streams": (
        number(
            "Experience score",
            f"Average of the last five minutes, 0 to 100. {COUNTED}",
            "avg(job:headcount_experience_score:avg5m)",
            unit=COUNT,
            levels=SCORE,
        ),
        number(
            "Startup, 95th percentile",
            "From the session's start to its first frame: 19 of 20 wait no longer.",
            "max(job:headcount_startup_seconds:p95_5m)",
            unit=SECONDS,
            levels=STARTUP_S,
        ),
        number(
            "Rebuffering ratio",
            "Share of the watched time that is spent waiting for data. Starting does not count, nor what follows five minutes of waiting.",
            "max(job:headcount_rebuffering_ratio:rate1m)",
            unit=RATIO,
            levels=REBUFFERING,
        ),
        number(
            "Behind live, 95th percentile",
            f"How far viewers were behind the live edge, by what their players say: one number for each session. {COUNTED}",
            "max(job:headcount_live_latency_seconds:p95_5m)",
            unit=SECONDS,
            levels=LATENCY_S,
        ),
    ),
    "Starting": (
        chart(
            "Startup time",
            "From start to first frame, of sessions whose start and first frame are both known; a heartbeat gives none. All streams.",
            Line("job:headcount_startup_seconds:p50_5m", "median"),
            Line("job:headcount_startup_seconds:p95_5m", "95th percentile"),
            unit=SECONDS,
            levels=STARTUP_S,
        ),
        chart(
            "Plays",
            "Sessions per second that showed their first frame, by stream.",
            Line(biggest(f"sum by (stream_id) (rate(headcount_plays_total{{{STREAM}}}[1m]))"), "{{stream_id}}"),
            unit=PER_SECOND,
        ),
        chart(
            "Startup by stream",
            "From start to first frame, 95th percentile, by stream; from coarse buckets.",
            Line(biggest(f"job_stream_id:headcount_startup_seconds:p95_5m{{{STREAM}}}"), "{{stream_id}}"),
            unit=SECONDS,
            levels=STARTUP_S,
        ),
        chart(
            "Start failures",
            f"Of the attempts to start, the share that failed with a fatal error before the first frame (VSF). {COUNTED_FAILED}",
            Line(biggest(f"job_stream_id:headcount_start_failure_ratio:increase5m{{{STREAM}}}"), "{{stream_id}}"),
            unit=RATIO,
            levels=FAILED,
        ),
        chart(
            "Exits before the start",
            f"Of the attempts to start, the share that left without an error before the first frame (EBVS). {COUNTED}",
            Line(biggest(f"job_stream_id:headcount_exit_before_start_ratio:increase5m{{{STREAM}}}"), "{{stream_id}}"),
            unit=RATIO,
            levels=Levels(yellow=0.1, red=0.2),
        ),
    ),
    "Watching": (
        chart(
            "Rebuffering ratio by stream",
            "Rebuffering / (playing + rebuffering), by stream.",
            Line(biggest(f"job_stream_id:headcount_rebuffering_ratio:rate1m{{{STREAM}}}"), "{{stream_id}}"),
            unit=RATIO,
            levels=REBUFFERING,
        ),
        chart(
            "Rebuffering ratio without seeks (CIRR)",
            "The rebuffering ratio by stream, without the rebuffering that a seek caused.",
            Line(biggest(f"job_stream_id:headcount_connection_induced_rebuffering_ratio:rate1m{{{STREAM}}}"), "{{stream_id}}"),
            unit=RATIO,
            levels=REBUFFERING,
        ),
        chart(
            "Stalls",
            "Stalls per second by cause, of the chosen streams.",
            Line(f"sum by (cause) (rate(headcount_rebuffers_total{{{STREAM}}}[1m]))", "{{cause}}"),
            unit=PER_SECOND,
        ),
        chart(
            "Average bitrate",
            "Over the playing time for which a bitrate is known, by stream.",
            Line(biggest(f"job_stream_id:headcount_average_bitrate_bits_per_second:rate1m{{{STREAM}}}"), "{{stream_id}}"),
            unit=BITS_PER_SECOND,
        ),
        chart(
            "Quality switches",
            "Changes of quality per second after the first, by stream.",
            Line(biggest(f"sum by (stream_id) (rate(headcount_quality_switches_total{{{STREAM}}}[1m]))"), "{{stream_id}}"),
            unit=PER_SECOND,
        ),
        chart(
            "Behind live",
            f"How far viewers were behind the live edge, one number for each session. All streams. {COUNTED}",
            Line("job:headcount_live_latency_seconds:p50_5m", "median"),
            Line("job:headcount_live_latency_seconds:p95_5m", "95th percentile"),
            unit=SECONDS,
            levels=LATENCY_S,
        ),
        chart(
            "Behind live by stream",
            f"How far viewers were behind the live edge, 95th percentile of sessions, by stream; from coarse buckets. {COUNTED}",
            Line(biggest(f"job_stream_id:headcount_live_latency_seconds:p95_5m{{{STREAM}}}"), "{{stream_id}}"),
            unit=SECONDS,
            levels=LATENCY_S,
        ),
        chart(
            "Viewers by what they do",
            "Seconds lived per second, so the average number of viewers: playing, rebuffering, paused, in advertisements. The chosen streams.",
            Line(f"sum(rate(headcount_playing_seconds_total{{{STREAM}}}[1m]))", "playing"),
            Line(f"sum(rate(headcount_rebuffering_seconds_total{{{STREAM}}}[1m]))", "rebuffering"),
            Line(f"sum(rate(headcount_paused_seconds_total{{{STREAM}}}[1m]))", "paused"),
            Line(f"sum(rate(headcount_ad_seconds_total{{{STREAM}}}[1m]))", "in advertisements"),
            unit=COUNT,
            stacked=True,
        ),
        chart(
            "Advertisements that went wrong",
            f"Per second: advertisements that could not be shown, and viewers who left during one. The chosen streams. Who left: {COUNTED.lower()}",
            Line(f"sum(rate(headcount_ad_errors_total{{{STREAM}}}[1m]))", "errors"),
            Line(f"sum(rate(headcount_exits_during_ad_total{{{STREAM}}}[1m]))", "left during one"),
            unit=PER_SECOND,
        ),
        chart(
            "Errors",
            "Errors per second that players report, fatal or not, of the chosen streams.",
            Line(f"sum by (fatal) (rate(headcount_stream_errors_total{{{STREAM}}}[1m]))", "fatal: {{fatal}}"),
            unit=PER_SECOND,
        ),
    ),
    "Ending": (
        chart(
            "Playback failures",
            f"Sessions that failed after their first frame (VPF), for each hour of watching, by stream. {COUNTED_FAILED}",
            Line(biggest(f"job_stream_id:headcount_playback_failures_per_watch_hour:rate5m{{{STREAM}}}"), "{{stream_id}}"),
            unit=COUNT,
            levels=BROKEN_OFF,
        ),
        chart(
            "Experience score over time",
            f"Startup, smoothness and success of sessions, 0 to 100, over five minutes. All streams. {COUNTED}",
            Line("job:headcount_experience_score:avg5m", "average"),
            Line(percentile(0.5, "headcount_experience_score", "job"), "median"),
            Line(percentile(0.1, "headcount_experience_score", "job"), "10th percentile"),
            unit=COUNT,
            levels=SCORE,
        ),
        chart(
            "Experience score by stream",
            f"Average of the sessions that were last on a stream, 0 to 100, over five minutes; the lowest of the chosen streams. {COUNTED}",
            Line(f"bottomk({LINES_MAX}, job_stream_id:headcount_experience_score:avg5m{{{STREAM}}})", "{{stream_id}}"),
            unit=COUNT,
            levels=SCORE,
        ),
        chart(
            "Length of sessions",
            f"Over five minutes, all streams. {COUNTED}",
            Line(percentile(0.5, "headcount_session_seconds", "job"), "median"),
            Line(percentile(0.95, "headcount_session_seconds", "job"), "95th percentile"),
            unit=SECONDS,
        ),
        chart(
            "Watch time: players' and ours",
            "Difference between the watch time that players report at their end and the one that we measured, as a positive number. All streams.",
            Line(percentile(0.5, "headcount_player_watch_difference_seconds", "job"), "median"),
            Line(percentile(0.95, "headcount_player_watch_difference_seconds", "job"), "95th percentile"),
            unit=SECONDS,
        ),
        chart(
            "Stalls and switches: players' and ours",
            "Difference between what players count themselves and what we counted, as a positive number, 95th percentile of sessions. All streams.",
            Line(percentile(0.95, "headcount_player_count_difference", "total"), "{{total}}"),
            unit=COUNT,
        ),
    ),
}


def build() -> Dashboard:
    """Return the dashboard."""
    return assemble(
        "Quality",
        "Is it going well for those who watch? Seconds arrive a minute late: the last minute of each session stays open for late events.",
        variables=(stream_variable(),),
        rows=ROWS,
    )
