"""What is connected: one row a player, and the remedy in words."""

from io import StringIO

from rich.console import Console

from metrics import players
from metrics.reports import ReplicaReport, ShardReport, SlotReport
from metrics.totals import Totals
from serve_app.commands.players import show
from sessions.changes import Key, Ledger


def totals(audience: dict[Key, int], increments: dict[Key, float]) -> Totals:
    summed = Totals(now=0.0, slots=1)
    slot = SlotReport(0, 1, True, audience, Ledger(), 1, {})
    summed.add_shard(ShardReport("shard", "life", 1, {0: 1}, [slot], 0, 0, 0, True, 0, 1), now=0.0)
    summed.add_replica(ReplicaReport("replica", 1, increments), now=0.0)
    return summed


def test_nothing_is_connected_at_first() -> None:
    assert players.told(totals({}, {})) == []


def test_a_row_tells_of_a_player_and_its_version_what_became_of_its_reports() -> None:
    (row,) = players.told(
        totals(
            {("player", "hls.js@1.7.4"): 3},
            {("cmcd_reports", "hls.js@1.7.4", "taken"): 7, ("cmcd_reports", "hls.js@1.7.4", "repeated"): 2},
        )
    )
    assert (row["player"], row["version"], row["sessions"], row["taken"], row["repeated"], row["remedies"]) == (
        "hls.js",
        "1.7.4",
        3,
        7,
        2,
        [],
    )


def test_what_is_configured_wrongly_is_told_with_its_remedy() -> None:
    rows = players.told(
        totals(
            {("player", "shaka-player"): 2, ("blind_player", "shaka-player"): 2},
            {
                ("cmcd_reports", "dash.js", "without_sid"): 4,
                ("cmcd_reports", "unknown", "unknown_token"): 9,
                ("cmcd_lost_reports", "dash.js"): 5,
                ("cmcd_dropped_keys", "dash.js", "ltc"): 1,
            },
        )
    )
    assert [row["player"] for row in rows] == ["shaka-player", "dash.js", "unknown"]
    assert rows[0]["remedies"] == [players.BLIND]
    assert rows[1]["remedies"] == [players.REMEDIES["without_sid"], players.LOST, f"{players.DROPPED}: ltc"]
    assert (rows[1]["lost"], rows[1]["dropped_keys"]) == (5, {"ltc": 1})
    assert rows[2]["remedies"] == [players.REMEDIES["unknown_token"]]


def test_the_command_prints_the_rows_and_what_is_to_be_done() -> None:
    out = StringIO()
    show(Console(file=out, width=120), players.told(totals({}, {("cmcd_reports", "dash.js", "without_sid"): 4})))
    assert "dash.js" in out.getvalue()
    assert "enabledKeys" in out.getvalue()
    empty = StringIO()
    show(Console(file=empty, width=200), [])
    assert "docs/players.md" in empty.getvalue()
