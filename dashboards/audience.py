"""The dashboard *Audience*: who is watching, what, where, and who comes and goes."""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import (
    CHANNEL,
    COUNT,
    PER_SECOND,
    RATIO,
    STREAM,
    Levels,
    Line,
    Rows,
    assemble,
    biggest,
    channel_variable,
    chart,
    number,
    stream_variable,
)
from sessions.dimensions import DIMENSIONS
from sessions.limits import STREAM_LABELS_MAX

MANY_STREAMS = Levels(yellow=0.9 * STREAM_LABELS_MAX, red=STREAM_LABELS_MAX)
WITHOUT_PLAYBACK = Levels(yellow=0.3, red=0.6)
FALLEN = Levels(yellow=0.85, red=0.67, falling=True)

ROWS: Final[Rows] = {
    "Now": (
        number(
            "Watching",
            "Playing, rebuffering, starting or in an advertisement, over all streams.",
            "sum(job:headcount_watching:sum)",
            unit=COUNT,
        ),
        number(
            "Sessions",
            "Everybody who sends heartbeats: watching, paused, shown, stalled and failed.",
            "sum(headcount_sessions)",
            unit=COUNT,
        ),
        number(
            "Watching the chosen streams",
            "Playing, rebuffering, starting or in an advertisement, on the streams chosen above.",
            f"sum(job_stream_id:headcount_watching:sum{{{STREAM}}})",
            unit=COUNT,
        ),
        number(
            "Streams with somebody",
            "Streams with at least one session and a label of their own. There are 1,000 labels; the streams past them are `other`.",
            'count(sum by (stream_id) (headcount_stream_sessions{stream_id!="other"}) > 0) or vector(0)',
            unit=COUNT,
            levels=MANY_STREAMS,
        ),
        number(
            "Without a sign of playback",
            "Part of all sessions that have shown no frame: a player that waits for a click, a start that waits for its picture, or somebody "
            "who sends pixels without a player.",
            "max(job:headcount_without_playback_ratio:now)",
            unit=RATIO,
            levels=WITHOUT_PLAYBACK,
        ),
        number(
            "Against a minute ago",
            "How many watch now, divided by how many watched a minute ago, over all streams. Red: the alert HeadcountAudienceFell fires.",
            "min(job:headcount_watching_ratio:offset1m)",
            unit=RATIO,
            levels=FALLEN,
        ),
    ),
    "Over time": (
        chart(
            "Sessions by state",
            "Every active session, by what its player does: watching is playing + rebuffering + starting + ad. The chosen streams.",
            Line(f"sum by (state) (headcount_stream_sessions{{{STREAM}}})", "{{state}}"),
            unit=COUNT,
            stacked=True,
        ),
        chart(
            "Joins and leaves",
            "Sessions per second that come (above zero: a start, something else first, back after silence) and go (below: the player said "
            "so, by its reason, or fell silent). All streams.",
            Line("sum(rate(headcount_sessions_started_total[1m]))", "started"),
            Line("sum(rate(headcount_sessions_provisional_total[1m]))", "provisional: start not seen"),
            Line("sum(rate(headcount_sessions_revived_total[1m]))", "revived"),
            Line("-sum by (reason) (rate(headcount_sessions_ended_total[1m]))", "ended: {{reason}}"),
            Line("-sum(rate(headcount_sessions_expired_total[1m]))", "expired"),
            unit=PER_SECOND,
        ),
        chart(
            "Watching by stream",
            "Playing, rebuffering, starting or in an advertisement; the biggest of the chosen streams.",
            Line(biggest(f"sum by (stream_id) (job_stream_id:headcount_watching:sum{{{STREAM}}})"), "{{stream_id}}"),
            unit=COUNT,
        ),
        chart(
            "Peak by stream",
            "Greatest number of active sessions in the last 60 s, at one-second resolution over all shards: what falls between two scrapes "
            "is in it.",
            Line(biggest(f"max by (stream_id) (headcount_stream_sessions_peak{{{STREAM}}})"), "{{stream_id}}"),
            unit=COUNT,
        ),
    ),
    "Who and where": (
        chart(
            "Sessions by channel",
            "Active sessions of the chosen channels. A session without a channel is not counted here.",
            Line(biggest(f"sum by (channel) (headcount_channel_sessions{{{CHANNEL}}})"), "{{channel}}"),
            unit=COUNT,
        ),
        *(
            chart(
                f"Sessions by {each.name}",
                f"Active sessions {each.text}; all streams. The biggest have a line of their own, `other` is the sum of the rest.",
                Line(biggest(f"sum by ({each.name}) (headcount_{each.name}_sessions)"), f"{{{{{each.name}}}}}"),
                unit=COUNT,
            )
            for each in DIMENSIONS
            if each.name not in {"channel", "player", "blind_player"}
        ),
    ),
    "Players that report by themselves": (
        chart(
            "Sessions by player that reports by itself",
            "Active sessions of hls.js, dash.js, Shaka and others that report by CMCD; and, of them, those whose player never says what it does: "
            "they count as watching, and in no figure of quality. All streams.",
            Line(biggest("sum by (player) (headcount_player_sessions)"), "{{player}}"),
            Line(biggest("sum by (blind_player) (headcount_blind_player_sessions)"), "blind: {{blind_player}}"),
            unit=COUNT,
        ),
        chart(
            "Reports by what became of them",
            "Per second. Repeated: sent again, as players do after an outage. `without_sid`: the target's `enabledKeys` name no `sid`, and nobody "
            "is counted; `unknown_token`: its URL shows none that is good. What is to be done about each, `headcount players` says.",
            Line("sum by (outcome) (rate(headcount_cmcd_reports_total[1m]))", "{{outcome}}"),
            unit=PER_SECOND,
        ),
        chart(
            "Reports lost, and keys dropped",
            "Per second: reports that never came, by the gaps in their numbers; and keys whose value was none, or not plausible.",
            Line("sum(rate(headcount_cmcd_lost_reports_total[5m]))", "lost"),
            Line(biggest("sum by (player, key) (rate(headcount_cmcd_dropped_keys_total[5m]))"), "dropped: {{key}} of {{player}}"),
            unit=PER_SECOND,
        ),
    ),
}


def build() -> Dashboard:
    """Return the dashboard."""
    return assemble(
        "Audience",
        "How many are watching right now. A number is at most two seconds old when Prometheus reads it, every five.",
        variables=(stream_variable(), channel_variable()),
        rows=ROWS,
    )
