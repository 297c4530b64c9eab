"""The in-memory journal keeps every promise, and fails where it is told to."""

from collections.abc import Coroutine
from typing import Any

import pytest

from sessions.limits import FINISHED_STREAM_MAX
from storage.journal import JournalUnavailableError
from storage.memory_journal import MemoryJournal, MemoryStore, Moment
from tests.journal_contract import JournalBench, JournalContract, write


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    pytest.fail("the journal waited for something")


@pytest.fixture
def bench() -> JournalBench:
    hands = [1_000.0]
    store = MemoryStore(clock=lambda: hands[-1])
    return JournalBench(
        MemoryJournal(store),
        MemoryJournal(store),
        drive,
        finished=lambda: list(store.finished),
        wipe=store.wipe,
        move_clock=lambda seconds: hands.append(hands[-1] + seconds),
    )


class TestMemoryJournal(JournalContract):
    """See `JournalContract`."""


def _failing_at(moment: Moment, operation: str) -> MemoryJournal:
    def faults(at: Moment, asked: str) -> None:
        if (at, asked) == (moment, operation):
            raise JournalUnavailableError

    store = MemoryStore()
    journal = MemoryJournal(store)
    drive(journal.open_data_set(slots=16, instance="laptop", run="run-1"))
    drive(journal.claim({1: 0}, owner="shard-0"))
    journal.faults = faults
    return journal


def test_a_commit_dropped_before_it_was_done_leaves_no_trace() -> None:
    journal = _failing_at("before", "commit")
    with pytest.raises(JournalUnavailableError):
        drive(journal.commit([write(1, 1, {"a": b"a1"})], finished=[b"one"], alive_at=1_001.0))
    assert drive(journal.load(1)).fence.number == 0
    assert list(journal.store.finished) == []


def test_a_commit_whose_answer_was_lost_is_done_and_may_be_sent_again() -> None:
    journal = _failing_at("after", "commit")
    with pytest.raises(JournalUnavailableError):
        drive(journal.commit([write(1, 1, {"a": b"a1"})], finished=[b"one"], alive_at=1_001.0))
    journal.faults = None
    drive(journal.commit([write(1, 1, {"a": b"a1"})], finished=[b"one"], alive_at=1_001.0))
    assert drive(journal.load(1)).sessions == {"a": b"a1"}
    assert list(journal.store.finished) == [b"one"]


@pytest.mark.parametrize("operation", ["open_data_set", "renew_lease", "fences", "claim", "release", "load", "commit", "touch", "ping"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_every_operation_can_be_made_to_fail(moment: Moment, operation: str) -> None:
    journal = _failing_at(moment, operation)
    asked: dict[str, Coroutine[Any, Any, Any]] = {
        "open_data_set": journal.open_data_set(slots=16, instance="laptop", run="run-1"),
        "renew_lease": journal.renew_lease(run="run-1"),
        "fences": journal.fences(),
        "claim": journal.claim({2: 0}, owner="shard-0"),
        "release": journal.release({1: 1}),
        "load": journal.load(1),
        "commit": journal.commit([write(1, 1)], alive_at=1_001.0),
        "touch": journal.touch({1: 1}, alive_at=1_001.0),
        "ping": journal.ping(),
    }
    with pytest.raises(JournalUnavailableError):
        drive(asked.pop(operation))
    for other in asked.values():
        other.close()


def test_one_client_can_be_cut_off_alone() -> None:
    journal = _failing_at("before", "load")
    with pytest.raises(JournalUnavailableError):
        drive(journal.load(1))
    assert drive(MemoryJournal(journal.store).load(1)).fence.owner == "shard-0"


def test_a_fault_can_delay_an_operation() -> None:
    order: list[str] = []

    class _Gate:
        def __await__(self) -> Any:
            yield
            order.append("opened")

    journal = MemoryJournal(faults=lambda moment, _: _Gate() if moment == "before" else None)
    opening = journal.open_data_set(slots=16, instance="laptop", run="run-1")
    opening.send(None)
    assert order == []
    with pytest.raises(StopIteration):
        opening.send(None)
    assert journal.store.lease is not None
    assert order == ["opened"]


@pytest.mark.reaches("FINISHED_STREAM_MAX")
def test_the_stream_of_finished_sessions_is_bounded() -> None:
    journal = _failing_at("before", "nothing")
    summaries = [b"%d" % number for number in range(FINISHED_STREAM_MAX + 5)]
    drive(journal.commit([write(1, 1)], finished=summaries, alive_at=1_001.0))
    assert len(journal.store.finished) == FINISHED_STREAM_MAX
    assert journal.store.finished[0] == b"5"
