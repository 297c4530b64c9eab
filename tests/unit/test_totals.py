"""Everything added once, whatever the network and the shards do."""

from random import Random

import pytest

from metrics.catalog import INCREMENTS, STATES, Kind
from metrics.labels import OTHER
from metrics.reports import Known, ReplicaReport, ShardReport, SlotReport
from metrics.totals import LOST_S, Totals
from sessions.changes import Audience, Increments, Ledger
from sessions.errors import InvariantError


def slot(
    number: int = 0,
    *,
    epoch: int = 1,
    audience: Audience | None = None,
    full: bool = True,
    ledger: Ledger | None = None,
    batch: int = 0,
    increments: Increments | None = None,
) -> SlotReport:
    return SlotReport(number, epoch, full, audience or {}, ledger or Ledger(), batch, increments or {})


def shard(
    *slots: SlotReport,
    name: str = "shard-0",
    incarnation: str = "first",
    number: int = 1,
    epochs: dict[int, int] | None = None,
    increments: Increments | None = None,
    restarts: int = 0,
) -> ShardReport:
    return ShardReport(
        shard=name,
        incarnation=incarnation,
        number=number,
        epochs={each.slot: each.epoch for each in slots} if epochs is None else epochs,
        slots=slots,
        sessions=0,
        restarts=restarts,
        pending_calls=0,
        journal_up=True,
        unwritten_sessions=0,
        map_version=0,
        increments=increments or {},
    )


def playing(count: int, *, stream: str = "s") -> Audience:
    return {("state", "playing"): count, ("stream", stream, "playing"): count}


def counted(totals: Totals, name: str) -> dict[tuple[str, ...], float]:
    return dict(totals.counted.counters(INCREMENTS[name]))


def test_slots_of_all_shards_are_added_up() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(0, audience=playing(3)), slot(1, audience=playing(4))), now=1.0)
    totals.add_shard(shard(slot(2, audience=playing(5)), name="shard-1"), now=1.0)
    assert totals.states()["playing"] == 12
    assert totals.watched("s").sessions == 12


def test_a_change_replaces_only_the_keys_that_it_names() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(audience=playing(3, stream="a") | playing(3, stream="b"))), now=1.0)
    totals.add_shard(shard(slot(full=False, audience={("stream", "a", "playing"): 0, ("state", "playing"): 2}), number=2), now=2.0)
    assert totals.watched("a").sessions == 0
    assert totals.watched("b").sessions == 3
    assert totals.states()["playing"] == 2


def test_the_same_report_twice_counts_once() -> None:
    totals = Totals(now=0.0)
    report = shard(slot(audience=playing(3), batch=1, increments={("heartbeats",): 7}), increments={("batch_events", "sum"): 2.0})
    assert totals.add_shard(report, now=1.0)
    assert not totals.add_shard(report, now=2.0)
    assert totals.states()["playing"] == 3
    assert counted(totals, "heartbeats") == {(): 7}
    assert next(totals.counted.histograms(INCREMENTS["batch_events"]))[2] == 2.0


def test_a_batch_that_a_successor_offers_again_counts_once() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(batch=4, increments={("heartbeats",): 7})), now=1.0)
    totals.add_shard(shard(slot(epoch=2, batch=4, increments={("heartbeats",): 7}), name="shard-1"), now=2.0)
    totals.add_shard(shard(slot(epoch=2, full=False, batch=5, increments={("heartbeats",): 1}), name="shard-1", number=2), now=3.0)
    assert counted(totals, "heartbeats") == {(): 8}


def test_a_moved_slot_is_counted_once_while_both_owners_report_it() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(epoch=1, audience=playing(3))), now=1.0)
    totals.add_shard(shard(slot(epoch=2, audience=playing(4)), name="shard-1"), now=1.5)
    assert totals.states()["playing"] == 4
    totals.add_shard(shard(slot(epoch=1, full=False, audience=playing(9)), number=2), now=2.0)
    assert totals.states()["playing"] == 4
    assert totals.known("shard-0") == Known("first", 2)


def test_a_released_slot_stands_until_its_next_owner_reports() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(epoch=1, audience=playing(3))), now=1.0)
    totals.add_shard(shard(number=2), now=2.0)
    totals.tick(now=2.0)
    assert totals.states()["playing"] == 3
    totals.add_shard(shard(slot(epoch=2, audience=playing(3)), name="shard-1"), now=3.0)
    assert totals.states()["playing"] == 3


def test_a_lost_shards_sessions_are_counted_for_fifteen_seconds_and_no_longer() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(audience=playing(3))), now=1.0)
    totals.tick(now=1.0 + LOST_S)
    assert totals.states()["playing"] == 3
    totals.tick(now=1.1 + LOST_S)
    assert totals.states()["playing"] == 0
    assert totals.watched("s").sessions == 0
    assert totals.labels["stream"].total == 0


def test_a_shard_that_comes_back_after_that_is_counted_again_from_its_changes_alone() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(audience=playing(3))), now=1.0)
    totals.tick(now=30.0)
    totals.add_shard(shard(slot(full=False, audience=playing(4)), number=2), now=31.0)
    assert totals.states()["playing"] == 4
    assert totals.watched("s").sessions == 4


def test_a_quiet_shard_that_only_names_its_slots_keeps_them_counted() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(audience=playing(3))), now=1.0)
    for number in range(2, 60):
        totals.add_shard(shard(number=number, epochs={0: 1}), now=float(number))
        totals.tick(now=float(number))
    assert totals.states()["playing"] == 3


def test_an_epoch_that_began_anew_after_a_wipe_is_taken_when_its_old_holder_was_lost() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(epoch=9, audience=playing(3))), now=1.0)
    wiped = shard(slot(epoch=1, audience=playing(2)), name="shard-1")
    totals.add_shard(wiped, now=2.0)
    assert totals.states()["playing"] == 3
    totals.tick(now=20.0)
    totals.add_shard(shard(number=2, epochs={0: 1}, name="shard-1"), now=20.0)
    assert totals.known("shard-1") == Known()
    totals.add_shard(wiped._replace(number=3), now=21.0)
    assert totals.states()["playing"] == 2


def test_a_change_of_what_is_not_held_asks_for_everything() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(full=False, audience=playing(3), batch=2, increments={("heartbeats",): 1})), now=1.0)
    assert totals.states()["playing"] == 0
    assert totals.known("shard-0") == Known(batches={0: 2})


def test_known_acknowledges_the_last_report_and_the_batches_of_the_shards_slots() -> None:
    totals = Totals(now=0.0)
    assert totals.known("shard-0") == Known()
    totals.add_shard(shard(slot(3, batch=5), slot(4), number=7), now=1.0)
    totals.add_shard(shard(slot(9, batch=2), name="shard-1"), now=1.0)
    assert totals.known("shard-0") == Known("first", 7, {3: 5})


def test_a_late_report_of_an_earlier_incarnation_is_ignored() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(number=5), now=1.0)
    totals.add_shard(shard(incarnation="second"), now=2.0)
    assert not totals.add_shard(shard(number=6, increments={("batch_events", "sum"): 9.0}), now=3.0)
    assert totals.known("shard-0") == Known("second", 1)


def test_ledger_counters_are_absolute_and_stand_while_a_slot_has_no_owner() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(0, ledger=Ledger(started=5, ended={"error": 2})), slot(1, ledger=Ledger(started=1))), now=1.0)
    totals.tick(now=100.0)
    assert totals.ledgers.sums[("started",)] == 6
    totals.add_shard(shard(slot(0, epoch=2, ledger=Ledger(started=7, ended={"error": 3})), name="shard-1"), now=101.0)
    assert totals.ledgers.sums[("started",)] == 8
    assert totals.ledgers.sums[("ended", "error")] == 3


def test_a_ledger_counter_never_falls() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(ledger=Ledger(started=5))), now=1.0)
    totals.add_shard(shard(slot(epoch=2, ledger=Ledger(started=4)), incarnation="second"), now=2.0)
    assert totals.ledgers.sums[("started",)] == 5
    totals.add_shard(shard(slot(epoch=2, ledger=Ledger(started=6)), incarnation="second", number=2), now=3.0)
    assert totals.ledgers.sums[("started",)] == 6


def test_a_peak_is_a_peak_of_sums_not_a_sum_of_peaks() -> None:
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(0, audience=playing(10))), now=1.0)
    totals.add_shard(shard(slot(1, audience=playing(1)), name="shard-1"), now=1.0)
    totals.tick(now=1.0)
    totals.add_shard(shard(slot(0, audience=playing(1)), number=2), now=2.0)
    totals.add_shard(shard(slot(1, audience=playing(10)), name="shard-1", number=2), now=2.0)
    totals.tick(now=2.0)
    assert totals.recent_peak("s") == 11
    assert totals.everyone().recent_peak == 11
    peak = totals.watched("s").peak
    assert peak is not None
    assert (peak.sessions, peak.at) == (11, 1.0)


def test_streams_without_a_place_are_other_and_every_sum_is_exact() -> None:
    totals = Totals(now=0.0)
    audience: Audience = {("stream", f"s{number}", "playing"): number for number in range(1, 1_202)}
    audience[("stream", OTHER, "paused")] = 5
    totals.add_shard(shard(slot(audience=audience)), now=1.0)
    totals.tick(now=1.0)
    streams = dict(totals.streams())
    assert len(streams) == 1_001
    assert streams[OTHER] == {
        "shown": 0,
        "starting": 0,
        "playing": sum(range(1, 202)),
        "rebuffering": 0,
        "paused": 5,
        "failed": 0,
        "stalled": 0,
        "ad": 0,
    }
    assert sum(sum(states.values()) for states in streams.values()) == sum(audience.values())
    assert totals.recent_peak(OTHER) == sum(range(1, 202)) + 5
    assert totals.watched(OTHER).sessions == 5
    assert totals.watched("s1").sessions == 1
    assert [label for label, _ in totals.biggest(2)] == ["s1201", "s1200"]


def test_ten_thousand_streams_that_come_and_go_add_up_at_every_scrape() -> None:
    """
    Two simulated minutes, ten thousand streams, a thousand places, a scrape after each second.

    Every second a part of the streams grows, shrinks or goes, so that places are given, kept empty, given up and fought for; of
    each, what plays goes to its label or to `other`, and nothing is counted twice or not at all.
    """
    random, totals = Random(3), Totals(now=0.0)
    audience: Audience = {}
    lost: set[str] = set()
    placed: set[str] = set()
    for second in range(1, 130):
        changed: Audience = {}
        for _ in range(1_500):
            # Every forty seconds other streams are the great ones.
            stream = int(10_000 * random.random() ** 3 + 2_500 * (second // 40)) % 10_000
            key = ("stream", f"s{stream}", random.choice(("playing", "paused", "rebuffering")))
            changed[key] = random.choice((0, 0, 1, 2, 5, 30))
        audience.update(changed)
        said = shard(slot(audience=audience if second == 1 else changed, full=second == 1), number=second)
        totals.add_shard(said, now=float(second))
        totals.tick(now=float(second))
        shown = {label: sum(states.values()) for label, states in totals.streams()}
        assert sum(shown.values()) == sum(audience.values())
        assert len(shown) <= 1_001
        lost |= placed - shown.keys()
        placed = set(shown)
        for label in random.sample(sorted(placed - {OTHER}), 20):
            assert shown[label] == sum(audience.get(("stream", label, state), 0) for state in ("playing", "paused", "rebuffering"))
    assert len(placed) == 1_001
    assert len(lost) > 100, "no place changed hands"


def test_a_stream_that_gets_its_label_has_every_counter_at_zero_before_it_counts_anything() -> None:
    """To `increase()` a series that is first seen at one has not grown."""
    totals = Totals(now=0.0)
    totals.add_shard(shard(slot(audience=playing(1, stream="s"))), now=1.0)
    begun = {key for key in counted(totals, "plays") if key[0] == "s"}
    assert begun == {("s",)}
    assert {cause for stream, cause in counted(totals, "rebuffers") if stream == "s"} == {"connection", "seek"}
    assert {fatal for stream, fatal in counted(totals, "stream_errors") if stream == "s"} == {"false", "true"}
    by_stream = [metric for metric in INCREMENTS.values() if metric.labels[:1] == ("stream_id",)]
    assert len(by_stream) == 19
    for metric in by_stream:
        shown = {key: [value] for key, value in counted(totals, metric.increments).items()}
        if metric.kind is Kind.HISTOGRAM:
            shown = {key: [*buckets, total] for key, buckets, total in totals.counted.histograms(metric)}
        assert {key[0] for key in shown} == {"s", OTHER}
        assert {value for values in shown.values() for value in values} == {0}


def test_a_stream_whose_only_session_is_over_within_one_report_is_counted_under_its_own_label() -> None:
    """Started, played and gone in 0.4 s: no report ever had it in its audience, and one play of `s` is one play of `s`."""
    totals = Totals(now=0.0)
    brief = slot(batch=1, increments={("plays", "s"): 1, ("playing", "s"): 0.4})
    totals.add_shard(shard(brief), now=1.0)
    totals.tick(now=1.0)
    assert counted(totals, "plays") == {("s",): 1, (OTHER,): 0}
    assert counted(totals, "playing") == {("s",): 0.4, (OTHER,): 0}
    assert counted(totals, "rebuffers")["s", "connection"] == 0
    assert dict(totals.streams())["s"] == dict.fromkeys(STATES, 0)


def test_what_is_counted_for_a_stream_goes_to_other_only_when_every_place_is_taken() -> None:
    totals = Totals(now=0.0)
    audience: Audience = {("stream", f"s{number}", "playing"): 1 for number in range(999)}
    increments: Increments = {("plays", "first"): 1, ("plays", "second"): 2, ("plays", OTHER): 4}
    totals.add_shard(shard(slot(audience=audience, batch=1, increments=increments)), now=1.0)
    shown = counted(totals, "plays")
    # 999 streams with somebody and the first without: a thousand labels. What is left for `other` is the second's 2 and its own 4.
    assert (shown["first",], shown[OTHER,], len(shown)) == (1, 6, 1_001)


def test_long_ids_share_a_label_and_keep_their_own_count() -> None:
    totals = Totals(now=0.0)
    one, two = "x" * 200, "x" * 200 + "y"
    totals.add_shard(shard(slot(audience={("stream", one, "playing"): 2, ("stream", two, "playing"): 3})), now=1.0)
    totals.tick(now=1.0)
    assert dict(totals.streams())["x" * 128]["playing"] == 5
    assert totals.recent_peak("x" * 128) == 5
    assert (totals.watched(one).sessions, totals.watched(one).recent_peak) == (2, 2)
    assert (totals.watched(two).sessions, totals.watched(two).recent_peak) == (3, 3)


def test_a_replicas_report_sent_again_counts_once_and_is_acknowledged_again() -> None:
    totals = Totals(now=0.0)
    report = ReplicaReport("r", 3, {("rejected", "start", "bad_field"): 2})
    assert totals.add_replica(report, now=1.0) == 3
    assert totals.add_replica(report, now=1.0) == 3
    assert totals.add_replica(report._replace(number=4), now=1.0) == 4
    assert counted(totals, "rejected") == {("start", "bad_field"): 4}


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_an_amount_that_no_counter_can_take_is_a_broken_invariant(amount: float) -> None:
    with pytest.raises(InvariantError):
        Totals(now=0.0).add_replica(ReplicaReport("r", 1, {("heartbeats",): amount}), now=1.0)


GOOD: Increments = {("heartbeats",): 1}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (shard(slot(audience=playing(1), batch=1, increments=GOOD), increments={("nonsense",): 1}), "nonsense"),
        (shard(slot(audience=playing(1) | {("nonsense", "x"): 1}, batch=1, increments=GOOD)), "nonsense"),
        (shard(slot(audience=playing(1) | {("stream", "s", "nonsense"): 1}, batch=1, increments=GOOD)), "stream"),
        (shard(slot(audience=playing(1), batch=1, increments={**GOOD, ("events", "nonsense"): 1})), "events"),
        (shard(slot(audience=playing(1), batch=1, increments={**GOOD, ("clock_skew", "le", "99"): 1})), "clock_skew"),
    ],
)
def test_what_a_newer_shard_counts_is_left_out_and_named_and_the_rest_is_added(said: ShardReport, name: str) -> None:
    totals = Totals(now=0.0)
    assert totals.add_shard(said, now=1.0)
    assert totals.states()["playing"] == 1
    assert counted(totals, "heartbeats") == {(): 1}
    assert totals.known("shard-0").batches == {0: 1}
    assert totals.left_out == {name}


def test_what_a_newer_replica_counts_is_left_out_and_named_and_the_rest_is_added() -> None:
    totals = Totals(now=0.0)
    assert totals.add_replica(ReplicaReport("r", 1, {**GOOD, ("nonsense",): 1}), now=1.0) == 1
    assert counted(totals, "heartbeats") == {(): 1}
    assert totals.left_out == {"nonsense"}


def test_a_report_with_an_amount_that_cannot_be_is_a_broken_invariant_and_nothing_of_it_is_added() -> None:
    totals = Totals(now=0.0)
    for bad in (
        shard(slot(audience=playing(1), batch=1, increments=GOOD), increments={("batch_events", "le", "3"): -1}),
        shard(slot(audience=playing(1), batch=1, increments={("heartbeats",): float("nan")})),
        shard(slot(audience=playing(1) | {("state", "paused"): -1}, batch=1, increments=GOOD)),
    ):
        with pytest.raises(InvariantError):
            totals.add_shard(bad, now=1.0)
    assert totals.known("shard-0") == Known()
    assert totals.states()["playing"] == 0
    assert counted(totals, "heartbeats") == {(): 0}


def test_age_is_that_of_the_oldest_report_in_use() -> None:
    totals = Totals(now=100.0)
    assert totals.age_s(now=103.0) == 3.0
    totals.add_shard(shard(), now=104.0)
    totals.add_shard(shard(name="shard-1"), now=106.0)
    assert totals.age_s(now=107.0) == 3.0
    assert totals.age_s(now=120.0) == 14.0
    assert [report.shard for report in totals.shards(now=120.0)] == ["shard-1"]


def restarts_shown(*said: tuple[str, int]) -> list[int]:
    """Return what is shown after each (incarnation, restarts) that a shard says."""
    totals = Totals(now=0.0)
    shown = []
    for number, (incarnation, restarts) in enumerate(said, 1):
        assert totals.add_shard(shard(incarnation=incarnation, number=number, restarts=restarts), now=float(number))
        shown.append(totals.restarts("shard-0"))
    return shown


def test_restarts_do_not_fall_when_the_directory_counts_anew() -> None:
    assert restarts_shown(("b", 2), ("b", 0), ("b", 0), ("c", 0), ("c", 1), ("c", 1)) == [2, 2, 2, 2, 3, 3]


def test_a_shard_that_was_not_told_its_restarts_yet_counts_none_twice() -> None:
    assert restarts_shown(("a", 0), ("b", 0), ("b", 1), ("c", 0), ("c", 1), ("c", 2)) == [0, 0, 1, 1, 1, 2]


def test_restarts_do_not_fall_when_shard_and_directory_die_together() -> None:
    assert restarts_shown(("a", 3), ("b", 0), ("c", 0), ("c", 1)) == [3, 3, 3, 4]


def test_a_shard_that_left_is_no_longer_shown_and_what_it_counted_stays() -> None:
    totals = Totals(now=0.0)
    observed: Increments = {("batch_events", "le", "0"): 1, ("batch_events", "sum"): 1}
    totals.add_shard(shard(slot(0, audience=playing(3)), increments=observed), now=1.0)
    totals.add_shard(shard(slot(0, epoch=2, audience=playing(3)), name="shard-1"), now=2.0)
    totals.forget_shard("shard-0")
    assert [report.shard for report in totals.shards(now=2.0)] == ["shard-1"]
    assert totals.age_s(now=9.0) == 7.0
    assert totals.states()["playing"] == 3
