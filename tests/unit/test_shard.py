"""A shard acknowledges what is durable and nothing else, whatever becomes of the journal, and its outages cost nobody."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages import NotTaken, decode_reply
from actors.shard.admission import Admission
from actors.shard.shard import EXPIRY_LATE_S, Shard
from metrics.reports import Known
from sessions.changes import Receipt
from sessions.errors import InvariantError
from sessions.events import Beacon, End, beacon_id
from sessions.limits import SHARD_WAITING_S_MAX
from sessions.states import Liveness
from storage.codec import decode_session
from storage.journal import Fence, JournalUnavailableError
from tests.simulation import virtual_time
from tests.simulation.one_shard import Bench, RecordingJournal, beat, now, start, until

Scenario = Callable[[Bench], Coroutine[Any, Any, None]]


def play(scenario: Scenario, bench: Bench | None = None) -> None:
    """Run a scenario in virtual time; whatever was left standing must add up."""
    used = bench or Bench()
    born: list[Shard] = []
    birth = used.shard

    def shard(*arguments: Any, **named: Any) -> tuple[Shard, RecordingJournal]:
        made = birth(*arguments, **named)
        born.append(made[0])
        return made

    used.shard = shard  # type: ignore[method-assign]
    virtual_time.run(scenario(used))
    for each in born:
        for held in each.held.values():
            held.tracker.validate()


def accepted(outcomes: list[Receipt | NotTaken]) -> bool:
    return all(isinstance(outcome, Receipt) and outcome.accepted for outcome in outcomes)


def liveness(shard: Shard, session_id: str) -> Liveness | None:
    found = [held.tracker.sessions.get(session_id) for held in shard.held.values()]
    return next((session.liveness for session in found if session is not None), None)


# Group commit.


def test_a_receipt_waits_until_the_journal_has_the_session() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.delay_s = 0.5
        waiting = bench.sending(shard, start("a"))
        await asyncio.sleep(0.4)
        assert not waiting.done()
        await until(waiting.done)
        assert accepted(waiting.result())
        assert any("a" in sessions for sessions in bench.store.sessions.values())

    play(scenario)


def test_a_duplicate_waits_for_the_commit_of_what_it_repeats() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.delay_s = 0.5
        first = bench.sending(shard, start("a", at=1_000.0))
        await asyncio.sleep(0.1)
        again = bench.sending(shard, start("a", at=1_000.0))
        await asyncio.sleep(0.35)
        assert not first.done()
        assert not again.done()
        await until(again.done)
        assert first.done()
        assert accepted(again.result())

    play(scenario)


def test_what_arrives_during_a_commit_goes_together_into_the_next() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.delay_s = 0.1
        before = len(journal.commits)
        first = bench.sending(shard, start("a"))
        await asyncio.sleep(0.01)
        later = [bench.sending(shard, start(f"b{number}")) for number in range(5)]
        await asyncio.gather(first, *later)
        assert len(journal.commits) - before == 2

    play(scenario)


def test_a_reply_has_one_outcome_per_item_in_order() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"), End("b", now(), "user_exit", 7, 0, 0))
        reply = await bench.send(shard, beat("b"), beat("a"), beat("c"))
        assert [(outcome.accepted, outcome.reason) for outcome in reply if isinstance(outcome, Receipt)] == [
            (False, "session_ended"),
            (True, None),
            (True, None),
        ]

    play(scenario)


# Who owns what.


def test_items_of_a_slot_that_is_owned_elsewhere_are_moved() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.open()
        shard, _ = bench.shard()
        shard.own({0: 0})
        await until(lambda: 0 in shard.held)
        mine, theirs = bench.id_in(0), bench.id_in(1)
        reply = await bench.send(shard, start(mine), start(theirs))
        assert accepted(reply[:1])
        assert reply[1] is NotTaken.MOVED

    play(scenario)


def test_items_of_a_slot_that_is_being_loaded_are_recovering() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await shard.stop()
        again, journal = bench.shard()
        journal.away = {"before"}
        first = await bench.send(again, start("a"))
        journal.away = set()
        await until(lambda: len(again.held) == bench.slots)
        assert first == [NotTaken.RECOVERING]
        assert accepted(await bench.send(again, start("a")))

    play(scenario)


def test_a_shard_that_was_killed_claims_its_slots_and_has_every_acknowledged_session() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        names = [f"s{number}" for number in range(50)]
        assert accepted(await bench.send(shard, *map(start, names)))
        epochs = {slot: held.epoch for slot, held in shard.held.items()}
        await shard.halt()
        again, _ = bench.shard()
        await until(lambda: len(again.held) == bench.slots)
        assert again.sessions == 50
        assert all(liveness(again, name) is Liveness.ACTIVE for name in names)
        assert {slot: held.epoch for slot, held in again.held.items()} == {slot: epoch + 1 for slot, epoch in epochs.items()}

    play(scenario)


def test_a_successor_cuts_the_old_owner_off() -> None:
    async def scenario(bench: Bench) -> None:
        old, _ = await bench.serving("shard-0")
        assert accepted(await bench.send(old, start("a")))
        new, _ = await bench.serving("shard-1")
        assert await bench.send(old, beat("a"), beat("b")) == [NotTaken.MOVED, NotTaken.MOVED]
        assert [shard.watch(front_door_up=True).commits_refused for shard in (old, new)] == [1, 0]
        assert accepted(await bench.send(new, beat("a")))
        assert liveness(new, "b") is None

    play(scenario)


def test_losing_one_slot_does_not_hold_the_others_up() -> None:
    async def scenario(bench: Bench) -> None:
        old, _ = await bench.serving("shard-0")
        new, _ = bench.shard("shard-1")
        new.own({0: bench.store.fences[0].epoch})
        await until(lambda: 0 in new.held)
        lost, kept = bench.id_in(0), bench.id_in(1)
        reply = await bench.send(old, start(lost), start(kept))
        assert reply[0] is NotTaken.MOVED
        assert accepted(reply[1:])
        assert sorted(old.held) == [1, 2, 3]
        assert kept in bench.store.sessions[1]
        assert lost not in bench.store.sessions.get(0, {})

    play(scenario)


def test_a_planned_move_takes_every_session_along() -> None:
    async def scenario(bench: Bench) -> None:
        old, _ = await bench.serving("shard-0")
        moved = bench.id_in(2)
        assert accepted(await bench.send(old, start(moved)))
        await old.release([2])
        assert await bench.send(old, beat(moved)) == [NotTaken.MOVED]
        new, _ = bench.shard("shard-1")
        new.own({2: bench.store.fences[2].epoch})
        await until(lambda: 2 in new.held)
        assert accepted(await bench.send(new, beat(moved)))
        assert new.held[2].tracker.ledger.provisional == 0

    play(scenario)


def test_a_release_that_nobody_waits_for_any_more_is_done_all_the_same() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        journal.delay_s = 2.0
        late = bench.sending(shard, beat("a"))
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shard.release([0]), 0.5)
        assert accepted(await late)
        await until(lambda: bench.store.fences[0].owner == "")
        kept = bench.id_in(1)
        assert accepted(await bench.send(shard, start(kept)))
        assert not bench.broken

    play(scenario)


def test_a_release_is_not_undone_by_its_caller_while_it_writes() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        bench.asleep_s = 600.0
        journal.delay_s = 1.0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shard.release([0]), 0.1)
        assert accepted(await bench.send(shard, start(bench.id_in(1))))
        assert not bench.broken

    play(scenario)


def test_a_recovery_that_was_interrupted_goes_on_where_it_was() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await shard.stop()
        again, journal = bench.shard()
        journal.delay_s = 0.5
        # Slots are loaded in portions: the journal goes away after the first.
        await until(lambda: len(again.held) > 0)
        journal.away = {"before"}
        first = {slot: held.epoch for slot, held in again.held.items()}
        assert len(first) < bench.slots
        await asyncio.sleep(3.0)
        journal.away = set()
        await until(lambda: len(again.held) == bench.slots)
        assert {slot: again.held[slot].epoch for slot in first} == first

    play(scenario, Bench(slots=40))


def test_a_slot_that_is_claimed_by_another_before_it_is_loaded_is_let_be() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.open()
        shard, journal = bench.shard()

        def overtake(moment: str, operation: str) -> None:
            if (moment, operation) == ("before", "load"):
                bench.store.fences[0] = Fence(2, 0, "shard-1")

        await asyncio.sleep(0.1)
        journal.faults = overtake
        shard.own({0: 0})
        await until(lambda: not shard.status()["coming"])
        assert not shard.held
        assert bench.store.fences[0] == Fence(2, 0, "shard-1")

    play(scenario)


def test_an_order_whose_epoch_is_outdated_takes_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.serving("shard-0")
        late, _ = bench.shard("shard-1")
        late.own({0: 0})
        await until(lambda: not late.status()["coming"])
        assert not late.held
        assert bench.store.fences[0].owner == "shard-0"

    play(scenario)


# The journal away.


def test_while_the_journal_is_away_nobody_is_acknowledged_and_nothing_is_applied() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.away = {"before"}
        assert await bench.send(shard, start("a")) == [NotTaken.NO_JOURNAL]
        assert await bench.send(shard, start("b")) == [NotTaken.NO_JOURNAL]
        assert liveness(shard, "b") is None
        assert shard.watch(front_door_up=True).unwritten_sessions == 1
        assert not shard.watch(front_door_up=True).journal_up
        journal.away = set()
        await until(lambda: shard.watch(front_door_up=True).journal_up)
        assert shard.watch(front_door_up=True).unwritten_sessions == 0
        assert accepted(await bench.send(shard, start("a"), start("b")))
        assert shard.status()["active"] == 2

    play(scenario)


def test_a_batch_without_an_answer_goes_again_byte_for_byte_under_its_numbers() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        before = len(journal.commits)
        journal.away = {"before"}
        await bench.send(shard, start("a"))
        await asyncio.sleep(10.0)
        journal.away = set()
        await until(lambda: shard.watch(front_door_up=True).journal_up)
        tries = [commit for commit in journal.commits[before:] if any("a" in write.sessions for write in commit[0])]
        assert len(tries) > 5
        assert all(each == tries[0] for each in tries)

    play(scenario)


def test_a_commit_that_was_done_but_not_answered_counts_once() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        journal.away = {"after"}
        farewell = End("a", now(), "user_exit", 12, 0, 0)
        assert await bench.send(shard, farewell) == [NotTaken.NO_JOURNAL]
        journal.away = set()
        await until(lambda: shard.watch(front_door_up=True).journal_up)
        [receipt] = await bench.send(shard, farewell)
        assert isinstance(receipt, Receipt)
        assert receipt.total_watch_s == 12
        assert len(bench.store.finished) == 1

    play(scenario)


def test_a_long_outage_of_the_journal_expires_nobody() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        journal.away = {"before"}
        await asyncio.sleep(600.0)
        journal.away = set()
        await asyncio.sleep(60.0)
        assert liveness(shard, "a") is Liveness.ACTIVE
        await asyncio.sleep(40.0)
        assert liveness(shard, "a") is Liveness.EXPIRED

    play(scenario)


def test_a_pause_is_durable_before_the_sign_of_life_that_would_hide_it() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        journal.away = {"before"}
        await asyncio.sleep(600.0)
        journal.away = set()
        # Killed again and again, as soon as the journal is back.
        for _ in range(20):
            await asyncio.sleep(0.07)
            await shard.halt()
            shard, _ = bench.shard()
        await until(lambda: len(shard.held) == bench.slots)
        await asyncio.sleep(60.0)
        assert liveness(shard, "a") is Liveness.ACTIVE

    play(scenario)


def test_a_gap_that_ends_just_before_the_sign_of_life_is_found_by_a_successor() -> None:
    """Away for 600 s, then a sign of life, then killed: nothing was written for the pause, and the next one knows of it all the same."""

    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        work_off = shard._work_off

        async def stopped_afterwards() -> bool:
            more = await work_off()
            bench.asleep_s = 600.0
            return more

        shard._work_off = stopped_afterwards  # type: ignore[method-assign]
        touched = journal.touches
        await until(lambda: bench.asleep_s > 0.0 and journal.touches > touched)
        await shard.halt()
        again, _ = bench.shard()
        await until(lambda: len(again.held) == bench.slots)
        assert all(held.tracker.paused_s == pytest.approx(600.0, abs=2.0) for held in again.held.values())
        assert liveness(again, "a") is Liveness.ACTIVE

    play(scenario)


# A journal that is slow.


@pytest.mark.parametrize("write_s", [0.55, 1.2])
def test_a_slow_journal_that_answers_everybody_keeps_nobody_who_has_vanished(write_s: float) -> None:
    """Every write takes as long for twenty minutes; a viewer who vanished is gone after 90 s, one who beats stays, no slot is paused."""

    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.delay_s = write_s
        await bench.send(shard, start("stays"), start("vanishes"))
        vanished_at = now()
        gone_at: list[float] = []
        for _ in range(120):
            assert accepted(await bench.send(shard, beat("stays")))
            for _ in range(40):
                await asyncio.sleep(0.25)
                if not gone_at and liveness(shard, "vanishes") is Liveness.EXPIRED:
                    gone_at.append(now())
        assert gone_at[0] - vanished_at == pytest.approx(90.0, abs=2.0 + write_s)
        assert liveness(shard, "stays") is Liveness.ACTIVE
        assert {held.tracker.paused_s for held in shard.held.values()} == {0.0}

    play(scenario)


@pytest.mark.parametrize("write_s", [0.55, 1.0, 2.0])
def test_however_slow_the_journal_is_who_vanishes_among_players_who_beat_expires_with_the_next_write(write_s: float) -> None:
    """Signs of life take as long as commits, and each waits for the one before; each who vanishes is gone at most a write, and some looks, late."""

    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.delay_s = journal.touch_delay_s = write_s
        begun_at = now()
        late_s: dict[str, float] = {}
        said: list[asyncio.Task[object]] = []
        while now() - begun_at < 400.0:
            if now() - begun_at < 15.0:
                said.append(asyncio.create_task(bench.send(shard, start(f"vanishes-{len(said)}"))))
            said.append(asyncio.create_task(bench.send(shard, beat("stays"))))
            await asyncio.sleep(0.3)
            gone = {
                session
                for held in shard.held.values()
                for session in held.tracker.sessions.values()
                if session.liveness is Liveness.EXPIRED
            }
            for session in gone:
                late_s.setdefault(session.session_id, now() - session.seen_at - 3 * session.interval_s)
        await asyncio.gather(*said)
        # Under a journal this slow some are refused, and some are promised longer intervals; who was let in is judged by the promise.
        assert len(late_s) >= 3
        assert min(late_s.values()) >= 0.0
        assert max(late_s.values()) <= write_s + EXPIRY_LATE_S + 0.4
        assert liveness(shard, "stays") is Liveness.ACTIVE

    play(scenario)


def test_an_outage_marks_no_slot_for_writing() -> None:
    """Away for ten minutes: what is written afterwards is what players send, and no record of a slot that nobody spoke to."""

    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        await asyncio.sleep(2.0)
        bench.asleep_s = 600.0
        written = len(journal.commits)
        await asyncio.sleep(5.0)
        assert journal.commits[written:] == []
        assert {held.tracker.paused_s > 590.0 for held in shard.held.values()} == {True}

    play(scenario)


def test_seconds_in_which_players_were_refused_cost_nobody() -> None:
    """Three seconds of a journal that is away, thirty times: 90 s of it are nobody's, though none was longer than a gap."""

    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        for _ in range(30):
            journal.away = {"before"}
            await asyncio.sleep(3.0)
            journal.away = set()
            await asyncio.sleep(2.0)
        assert liveness(shard, "a") is Liveness.ACTIVE, "150 s have passed, some 60 of which count"

    play(scenario)


# The server's clock.


@pytest.mark.parametrize("step_s", [-600.0, 600.0, -86_400.0, 86_400.0])
def test_a_server_clock_that_is_set_costs_nobody_and_keeps_nobody(step_s: float) -> None:
    """One vanished 10 s before the clock was set: gone 80 s after it. One who goes on stays, and signs of life go on being written."""

    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("vanishes"), start("stays"))
        await asyncio.sleep(10.0)
        bench.clock_ahead_s = step_s
        touched = journal.touches
        for _ in range(3):
            await bench.send(shard, beat("stays"))
            await asyncio.sleep(26.0)
        assert liveness(shard, "vanishes") is Liveness.ACTIVE, "78 s after the step, 88 s after its last sign of life"
        assert journal.touches - touched > 70
        await asyncio.sleep(4.0)
        assert liveness(shard, "vanishes") is Liveness.EXPIRED
        assert liveness(shard, "stays") is Liveness.ACTIVE

    play(scenario)


@pytest.mark.parametrize("step_s", [-600.0, 600.0])
def test_a_clock_that_is_set_while_nobody_is_there_keeps_nobody_and_costs_nobody(step_s: float) -> None:
    """Killed, the clock set, started again: a viewer who does not come back is gone 90 s after the last of both lives."""

    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        await asyncio.sleep(2.0)
        await shard.halt()
        bench.clock_ahead_s = step_s
        again, _ = bench.shard()
        await until(lambda: len(again.held) == bench.slots)
        await asyncio.sleep(80.0)
        assert liveness(again, "a") is Liveness.ACTIVE
        await asyncio.sleep(15.0)
        assert liveness(again, "a") is Liveness.EXPIRED

    play(scenario)


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from([-7_200.0, -600.0, -30.0, 0.5, 45.0, 600.0, 90_000.0])), max_size=6))
@settings(max_examples=15)
def test_whenever_and_however_often_the_servers_clock_is_set_everybody_goes_when_they_should(steps: list[tuple[int, float]]) -> None:
    """A model that knows the true time: a session is there until 90 s after its last beat, and gone a second later."""

    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        left_s = 90.0
        for after_s, step_s in steps:
            await asyncio.sleep(after_s)
            await bench.send(shard, beat("a", at=now()))
            bench.clock_ahead_s += step_s
        await asyncio.sleep(left_s - 1.0)
        assert liveness(shard, "a") is Liveness.ACTIVE
        await asyncio.sleep(2.0)
        assert liveness(shard, "a") is Liveness.EXPIRED

    play(scenario)


# A wiped journal.


def test_a_wiped_journal_gets_everything_back_before_anybody_is_acknowledged() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _journal = await bench.serving()
        await bench.send(shard, *(start(f"s{number}") for number in range(20)))
        epochs = {slot: held.epoch for slot, held in shard.held.items()}
        bench.store.wipe()
        first = await bench.send(shard, start("late"))
        assert first == [NotTaken.NO_JOURNAL]
        await until(lambda: shard.watch(front_door_up=True).journal_up)
        assert sum(map(len, bench.store.sessions.values())) == 21
        assert {slot: held.epoch for slot, held in shard.held.items()} == {slot: epoch + 1 for slot, epoch in epochs.items()}
        assert accepted(await bench.send(shard, start("late")))
        assert bench.confirms == [("shard-0", epochs)]
        assert shard.watch(front_door_up=True).write_backs == 1

    play(scenario)


def test_all_that_is_held_is_unwritten_while_a_wiped_journal_is_away() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, *(start(f"s{number}") for number in range(20)))
        open_data_set = bench.open

        async def open_and_go_away() -> None:
            await open_data_set()
            journal.away = {"before"}

        bench.open = open_and_go_away  # type: ignore[method-assign]
        bench.store.wipe()
        assert await bench.send(shard, start("late")) == [NotTaken.NO_JOURNAL]
        await asyncio.sleep(3.0)
        assert not shard.watch(front_door_up=True).journal_up
        assert shard.watch(front_door_up=True).unwritten_sessions == 21
        bench.open, journal.away = open_data_set, set()  # type: ignore[method-assign]
        await until(lambda: shard.watch(front_door_up=True).journal_up)
        assert shard.watch(front_door_up=True).unwritten_sessions == 0

    play(scenario)


def test_slots_that_are_given_up_just_after_a_wipe_are_written_back_first() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, *(start(f"s{number}") for number in range(20)))
        bench.store.wipe()
        await shard.release(list(range(bench.slots)))
        assert not shard.held
        assert sum(map(len, bench.store.sessions.values())) == 20
        other, _ = await bench.serving("shard-1")
        assert other.sessions == 20

    play(scenario)


def test_a_data_set_that_is_lost_while_slots_are_given_up_is_written_back_before_they_are() -> None:
    """Between the last sign of life and the journal's word that the slots are nobody's, everything in it goes."""

    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, *(start(f"s{number}") for number in range(20)))
        wipes = ["once"]

        def wipe(moment: str, operation: str) -> None:
            if (moment, operation) == ("before", "release") and wipes:
                wipes.clear()
                bench.store.wipe()

        journal.faults = wipe
        await shard.release(list(range(bench.slots)))
        assert (shard.held, wipes) == ({}, [])
        assert {fence.owner for fence in bench.store.fences.values()} == {""}
        other, _ = await bench.serving("shard-1")
        assert other.sessions == 20

    play(scenario)


def test_slots_whose_release_was_not_answered_are_held_until_they_turn_out_to_be_given_up() -> None:
    """The journal gives slot 2 up and cannot say so. Who asks for it hears MOVED, and nothing is acknowledged that nobody keeps."""

    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        moved = bench.id_in(2)
        assert accepted(await bench.send(shard, start(moved)))

        def tear(moment: str, operation: str) -> None:
            if (moment, operation) == ("after", "release"):
                raise JournalUnavailableError

        journal.faults = tear
        await shard.release([2])
        assert (2 in shard.held, bench.store.fences[2].owner) == (True, "")
        await until(lambda: shard.journal_up)
        assert await bench.send(shard, beat(moved)) == [NotTaken.MOVED]
        new, _ = bench.shard("shard-1")
        new.own({2: bench.store.fences[2].epoch})
        await until(lambda: 2 in new.held)
        assert accepted(await bench.send(new, beat(moved)))

    play(scenario)


def test_slots_are_kept_while_the_journal_cannot_say_that_it_has_them() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        journal.away = {"before"}
        await shard.release(list(range(bench.slots)))
        assert len(shard.held) == bench.slots

    play(scenario)


def test_a_wipe_is_noticed_even_if_no_player_says_anything() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        bench.store.wipe()
        await asyncio.sleep(3.0)
        assert sum(map(len, bench.store.sessions.values())) == 1
        assert shard.status()["write_backs"] == 1

    play(scenario)


def test_a_slot_that_the_directory_denies_is_not_written_back() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        bench.denied = {1}
        bench.store.wipe()
        await asyncio.sleep(3.0)
        assert sorted(shard.held) == [0, 2, 3]
        assert sorted(bench.store.fences) == [0, 2, 3]

    play(scenario)


def test_a_claim_after_a_wipe_that_was_done_but_not_answered_loses_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        bench.store.wipe()
        journal.away = {"after"}
        await asyncio.sleep(5.0)
        journal.away = set()
        await asyncio.sleep(5.0)
        assert sorted(shard.held) == [0, 1, 2, 3]
        assert accepted(await bench.send(shard, beat("a")))
        assert sum(map(len, bench.store.sessions.values())) == 1

    play(scenario)


def test_summaries_that_a_wiped_journal_did_not_take_are_written_back_once() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        bench.store.wipe()
        await bench.send(shard, End("a", now(), "user_exit", 12, 0, 0))
        await until(lambda: shard.watch(front_door_up=True).journal_up)
        assert [json.loads(summary)["session_id"] for summary in bench.store.finished] == ["a"]

    play(scenario)


# Time, and our outages.


def test_a_session_expires_within_a_second_of_its_deadline() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        await asyncio.sleep(89.9)
        assert liveness(shard, "a") is Liveness.ACTIVE
        await asyncio.sleep(1.0)
        assert liveness(shard, "a") is Liveness.EXPIRED

    play(scenario)


def test_an_expiry_is_in_the_journal() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        name = bench.id_in(3)
        await bench.send(shard, start(name))
        await asyncio.sleep(92.0)
        assert decode_session(bench.store.sessions[3][name]).liveness is Liveness.EXPIRED
        assert journal.record(3).ledger.expired == 1
        assert len(bench.store.finished) == 1

    play(scenario)


@pytest.mark.parametrize(("away_s", "expired_after_s"), [(600.0, 690.0), (4.0, 90.0)], ids=["long", "short"])
def test_the_time_between_death_and_birth_is_added_if_it_is_a_gap(away_s: float, expired_after_s: float) -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        began_at = now()
        await bench.send(shard, start("a"))
        await asyncio.sleep(1.0)
        await shard.halt()
        await asyncio.sleep(away_s)
        again, _ = bench.shard()
        await asyncio.sleep(began_at + expired_after_s - now() - 2.0)
        assert liveness(again, "a") is Liveness.ACTIVE
        await asyncio.sleep(5.0)
        assert liveness(again, "a") is Liveness.EXPIRED

    play(scenario)


def test_a_process_that_was_stopped_or_a_laptop_that_slept_expires_nobody() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        bench.asleep_s = 8 * 3_600.0
        await asyncio.sleep(60.0)
        assert liveness(shard, "a") is Liveness.ACTIVE
        assert accepted(await bench.send(shard, beat("a")))

    play(scenario)


def test_a_batch_that_arrives_first_after_a_gap_finds_nobody_expired() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        bench.asleep_s = 600.0
        await bench.send(shard, beat("b"))
        assert liveness(shard, "a") is Liveness.ACTIVE
        assert {held.tracker.paused_s > 599.0 for held in shard.held.values()} == {True}

    play(scenario)


def test_while_the_front_door_is_down_expiry_stands_still_and_no_sign_of_life_is_written() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        await asyncio.sleep(2.0)
        touched, alive_at = journal.touches, dict(bench.store.alive)
        for _ in range(300):
            shard.watch(front_door_up=False)
            await asyncio.sleep(1.0)
        assert journal.touches - touched <= 1
        assert all(bench.store.alive[slot] - then <= 1.0 for slot, then in alive_at.items())
        assert liveness(shard, "a") is Liveness.ACTIVE
        for _ in range(60):
            shard.watch(front_door_up=True)
            await asyncio.sleep(1.0)
        assert liveness(shard, "a") is Liveness.ACTIVE
        for _ in range(40):
            shard.watch(front_door_up=True)
            await asyncio.sleep(1.0)
        assert liveness(shard, "a") is Liveness.EXPIRED

    play(scenario)


@pytest.mark.parametrize("last_word", [False, True])
def test_a_directory_that_says_nothing_more_costs_nobody_while_no_player_comes_through_the_front_door(last_word: bool) -> None:
    """Shut for an hour, unseen: `a` beats again at once when the door opens, and was there all the time."""

    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        shard.watch(front_door_up=last_word)
        await asyncio.sleep(3_600.0)
        assert liveness(shard, "a") is Liveness.ACTIVE
        assert accepted(await bench.send(shard, beat("a")))
        assert sum(each.tracker.ledger.revived for each in shard.held.values()) == 0

    play(scenario)


def test_without_a_directory_whoever_vanishes_expires_as_long_as_others_prove_that_the_front_door_is_open() -> None:
    """`a` was heard at 0 and `b` beats every five seconds: `a` is there at 85 s and gone at 95 s, whatever was said of the door."""

    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"), start("b"))
        shard.watch(front_door_up=False)
        for _ in range(17):
            assert accepted(await bench.send(shard, beat("b")))
            await asyncio.sleep(5.0)
        assert liveness(shard, "a") is Liveness.ACTIVE
        for _ in range(2):
            assert accepted(await bench.send(shard, beat("b")))
            await asyncio.sleep(5.0)
        assert (liveness(shard, "a"), liveness(shard, "b")) == (Liveness.EXPIRED, Liveness.ACTIVE)

    play(scenario)


@pytest.mark.reaches("EXPIRIES_PER_COMMIT_MAX")
def test_many_expiries_at_once_let_players_in_between() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        for first in range(0, 5_000, 500):
            await bench.send(shard, *(start(f"s{number}") for number in range(first, first + 500)))
        await asyncio.sleep(89.0)
        journal.delay_s = 0.1
        await until(lambda: any(held.tracker.ledger.expired for held in shard.held.values()))
        assert accepted(await bench.send(shard, start("newcomer")))
        assert sum(held.tracker.ledger.expired for held in shard.held.values()) < 2_000
        await until(lambda: sum(held.tracker.ledger.expired for held in shard.held.values()) == 5_000)
        assert max(len(sessions) for sessions in ([w.sessions for w in c[0]] for c in journal.commits)) <= 5_000
        assert max(sum(len(write.sessions) for write in commit[0]) for commit in journal.commits[-20:]) <= 500

    play(scenario)


def test_an_idle_shard_only_says_that_it_is_alive() -> None:
    async def scenario(bench: Bench) -> None:
        _, journal = await bench.serving()
        await asyncio.sleep(2.0)
        commits, touches = len(journal.commits), journal.touches
        await asyncio.sleep(60.0)
        assert len(journal.commits) == commits
        assert 58 <= journal.touches - touches <= 61

    play(scenario)


# Bounds.


def test_a_full_shard_takes_no_new_session_and_keeps_serving_the_others() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving(admission=Admission(sessions_max=3))
        reply = await bench.send(shard, *(start(f"s{number}") for number in range(4)))
        assert accepted(reply[:3])
        assert reply[3] == Receipt(accepted=False, reason="too_many_sessions")
        assert accepted(await bench.send(shard, beat("s0")))

    play(scenario)


def test_pixels_have_a_bound_of_their_own() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving(admission=Admission(beacons_max=1, sessions_max=1))
        pixels = [Beacon(beacon_id(pullzone="p", video_id="v", user_id=f"u{n}"), "play", "v", "p") for n in range(2)]
        reply = await bench.send(shard, *pixels, start("post"))
        assert reply[1] == Receipt(accepted=False, reason="too_many_sessions")
        assert accepted([reply[0], reply[2]])

    play(scenario)


def test_more_than_a_shard_can_let_wait_is_shed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.delay_s = 1.0
        first = bench.sending(shard, start("a"))
        await asyncio.sleep(0.1)
        monkeypatch.setattr("actors.shard.intake.SHARD_WAITING_ITEMS_MAX", 3)
        second = bench.sending(shard, start("b"), start("c"))
        await asyncio.sleep(0.1)
        assert await bench.send(shard, start("d"), start("e")) == [NotTaken.OVERLOADED] * 2
        assert accepted(await first)
        assert accepted(await second)

    play(scenario)


@pytest.mark.reaches("SHARD_WAITING_S_MAX")
def test_what_comes_while_the_oldest_has_waited_for_too_long_is_shed() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.delay_s = 4.0
        first = bench.sending(shard, start("a"))
        await asyncio.sleep(0.1)
        second = bench.sending(shard, start("b"))
        await asyncio.sleep(SHARD_WAITING_S_MAX - 0.1)
        third = bench.sending(shard, start("c"))
        await asyncio.sleep(0.2)
        assert await bench.send(shard, start("d")) == [NotTaken.OVERLOADED]
        journal.delay_s = 0.0
        assert all(accepted(reply) for reply in await asyncio.gather(first, second, third))
        assert accepted(await bench.send(shard, start("d")))

    play(scenario)


# The lever.


def test_a_shard_whose_players_wait_promises_a_longer_interval_and_then_the_configured_one_again() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        assert (await bench.send(shard, start("a")))[0].interval_s == 30
        journal.delay_s = 0.7
        promised = [(await bench.send(shard, beat("a")))[0].interval_s for _ in range(20)]
        assert promised == sorted(promised)
        assert promised[0] == 30
        assert 60 < promised[-1] <= 120
        assert shard.status()["heartbeat_interval_s"] == promised[-1]
        assert shard.collect(Known()).stretch * 30 == pytest.approx(promised[-1], abs=0.5)
        journal.delay_s = 0.0
        await asyncio.sleep(30.0)
        assert (await bench.send(shard, beat("a")))[0].interval_s == 30
        assert shard.collect(Known()).stretch == 1.0

    play(scenario)


def test_the_wait_before_a_batch_came_counts_as_well() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        for _ in range(40):
            await asyncio.sleep(0.25)
            await shard.receive(bench.batch([beat("a")], waited_s=0.6))
        assert shard.status()["heartbeat_interval_s"] == pytest.approx(75, abs=1)

    play(scenario)


def test_a_session_expires_by_the_interval_that_it_was_promised() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        for _ in range(80):
            await asyncio.sleep(0.25)
            await shard.receive(bench.batch([beat("other")], waited_s=1.4))
        [receipt] = await bench.send(shard, start("a"))
        assert isinstance(receipt, Receipt)
        assert receipt.interval_s == 120
        await asyncio.sleep(359.0)
        assert liveness(shard, "a") is Liveness.ACTIVE
        await asyncio.sleep(2.0)
        assert liveness(shard, "a") is Liveness.EXPIRED

    play(scenario)


def test_a_journal_that_was_away_stretches_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        journal.away = {"before"}
        assert await bench.send(shard, beat("a")) == [NotTaken.NO_JOURNAL]
        await asyncio.sleep(60.0)
        journal.away = set()
        await until(lambda: shard.journal_up)
        assert shard.status()["heartbeat_interval_s"] == 30

    play(scenario)


# Increments and reports.


def heartbeats(shard: Shard, known: Known) -> float:
    return sum(slot.increments.get(("heartbeats",), 0) for slot in shard.collect(known).slots)


def test_increments_are_offered_until_they_are_acknowledged_and_then_never_again() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        name = bench.id_in(0)
        await bench.send(shard, beat(name, at=1_000.0))
        [slot] = [each for each in shard.collect(Known()).slots if each.increments]
        assert slot.increments[("heartbeats",)] == 1
        assert heartbeats(shard, Known()) == 1
        assert heartbeats(shard, Known(batches={0: slot.batch})) == 0

    play(scenario)


def test_what_came_while_a_batch_was_handed_follows_under_the_next_number_without_a_player() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        name = bench.id_in(0)
        await bench.send(shard, beat(name, at=1_000.0))
        first = next(each for each in shard.collect(Known()).slots if each.slot == 0)
        await bench.send(shard, beat(name, at=1_030.0))
        assert next(each for each in shard.collect(Known()).slots if each.slot == 0).increments == first.increments
        shard.collect(Known(batches={0: first.batch}))
        await asyncio.sleep(0.5)
        second = next(each for each in shard.collect(Known(batches={0: first.batch})).slots if each.slot == 0)
        assert second.batch == first.batch + 1
        assert second.increments[("heartbeats",)] == 1

    play(scenario)


def test_increments_are_not_offered_before_they_are_durable() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.delay_s = 1.0
        waiting = bench.sending(shard, beat("a"))
        await asyncio.sleep(0.5)
        assert heartbeats(shard, Known()) == 0
        await waiting
        assert heartbeats(shard, Known()) == 1

    play(scenario)


def test_a_slot_made_anew_does_not_repeat_numbers_that_the_exporter_has_seen() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        name = bench.id_in(0)
        await bench.send(shard, beat(name, at=1_000.0))
        seen = next(each.batch for each in shard.collect(Known()).slots if each.slot == 0)
        await shard.halt()
        bench.store.wipe()
        await asyncio.sleep(10.0)
        again, _ = await bench.serving()
        await bench.send(again, beat(name, at=1_000.0))
        assert next(each.batch for each in again.collect(Known()).slots if each.slot == 0) > seen

    play(scenario)


def test_a_successor_offers_what_was_handed_under_the_same_number() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        name = bench.id_in(0)
        await bench.send(shard, beat(name, at=1_000.0))
        offered = next(each for each in shard.collect(Known()).slots if each.slot == 0)
        await bench.send(shard, beat(name, at=1_030.0))
        await shard.halt()
        again, _ = bench.shard()
        await until(lambda: len(again.held) == bench.slots)
        repeated = next(each for each in again.collect(Known()).slots if each.slot == 0)
        assert (repeated.batch, repeated.increments) == (offered.batch, offered.increments)
        again.collect(Known(batches={0: offered.batch}))
        await asyncio.sleep(0.5)
        rest = next(each for each in again.collect(Known(batches={0: offered.batch})).slots if each.slot == 0)
        assert (rest.batch, rest.increments[("heartbeats",)]) == (offered.batch + 1, 1)

    play(scenario)


def test_a_report_is_whole_until_one_is_confirmed_and_then_only_what_changed() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        first = shard.collect(Known())
        second = shard.collect(Known())
        assert all(slot.full for slot in (*first.slots, *second.slots))
        third = shard.collect(Known(second.incarnation, second.number, {s.slot: s.batch for s in second.slots}))
        assert not third.slots
        await bench.send(shard, beat("a"))
        [change] = shard.collect(Known(third.incarnation, third.number)).slots
        assert not change.full
        assert change.audience[("state", "playing")] == 1
        assert change.audience[("state", "starting")] == 0
        assert ("platform", "web") not in change.audience
        assert not shard.collect(Known(third.incarnation, third.number + 1, {change.slot: change.batch})).slots

    play(scenario)


def test_a_report_that_got_lost_is_contained_in_the_next() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        first = shard.collect(Known())
        known = Known(first.incarnation, first.number)
        await bench.send(shard, start(bench.id_in(0)))
        lost = shard.collect(known)
        await bench.send(shard, beat(bench.id_in(0, nth=1)))
        again = shard.collect(known)
        assert again.number == lost.number + 1
        [change] = again.slots
        assert {state: change.audience[("state", state)] for state in ("starting", "playing")} == {"starting": 1, "playing": 1}
        assert again.increments[("batch_events", "sum")] == 2
        assert ("batch_events", "sum") not in shard.collect(Known(again.incarnation, again.number)).increments

    play(scenario)


def test_a_report_shows_the_ledger_of_the_last_commit_so_that_no_count_can_go_back() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.delay_s = 1.0
        waiting = bench.sending(shard, start("a"))
        await asyncio.sleep(0.5)
        assert sum(slot.ledger.started for slot in shard.collect(Known()).slots) == 0
        await waiting
        assert sum(slot.ledger.started for slot in shard.collect(Known()).slots) == 1

    play(scenario)


# The story, the end, and what must not be.


def test_one_session_is_described_with_its_story() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        name = bench.id_in(2)
        await bench.send(shard, start(name))
        described = shard.describe(2, name)
        assert described is not None
        told = json.loads(described)
        assert (told["session_id"], told["counted"], told["slot"], told["shard"]) == (name, True, 2, "shard-0")
        assert told["story"][0]["what"] == "started"
        assert shard.describe(2, "unheard-of") is None
        assert shard.describe(77, name) is None

    play(scenario)


def test_a_stopping_shard_says_a_last_time_that_it_was_alive_and_keeps_its_slots() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        await asyncio.sleep(0.6)
        await shard.stop()
        assert set(bench.store.alive.values()) == {now()}
        assert {fence.owner for fence in bench.store.fences.values()} == {"shard-0"}
        assert await bench.send(shard, start("b")) == [NotTaken.RECOVERING]

    play(scenario)


def test_stopping_does_not_wait_for_a_journal_that_is_away() -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        journal.away = {"before"}
        await bench.send(shard, start("a"))
        began_at = now()
        await shard.stop()
        assert now() - began_at <= 2.5

    play(scenario)


def test_nothing_is_acknowledged_or_written_on_top_of_a_broken_state(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        shard, journal = await bench.serving()
        await bench.send(shard, start("a"))
        commits = len(journal.commits)

        def receive(event: Any, *, now: float, interval_s: int) -> Receipt:
            raise InvariantError("one and one is three", story="a story")

        for held in shard.held.values():
            monkeypatch.setattr(held.tracker, "receive", receive)
        reply = await shard.receive(bench.batch([beat("a")]))
        assert decode_reply(reply) == [NotTaken.RECOVERING]
        await asyncio.sleep(100.0)
        assert [str(problem) for problem in bench.broken] == ["one and one is three; story: a story"]
        assert len(journal.commits) == commits
        assert await bench.send(shard, start("b")) == [NotTaken.RECOVERING]

    play(scenario)


def test_beats_that_come_together_are_promised_different_intervals_and_starts_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.shard.spread.SESSIONS_MIN", 100)

    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        viewers = [f"viewer-{number}" for number in range(200)]
        started = await bench.send(shard, *(start(viewer) for viewer in viewers))
        assert {outcome.interval_s for outcome in started if isinstance(outcome, Receipt)} == {30}
        await asyncio.sleep(30)
        beaten = await bench.send(shard, *(beat(viewer) for viewer in viewers))
        promised = [outcome.interval_s for outcome in beaten if isinstance(outcome, Receipt)]
        assert len(promised) == 200
        assert (min(promised), max(promised), len(set(promised))) == (15, 45, 31)
        late = await bench.send(shard, start("late"))
        assert isinstance(late[0], Receipt)
        assert late[0].interval_s == 30
        await asyncio.sleep(5)
        alone = await bench.send(shard, beat("viewer-7"))
        assert isinstance(alone[0], Receipt)
        assert alone[0].interval_s == 30

    play(scenario)
