"""The ledger's counters over all slots: never falling, and never standing still for a slot that began anew."""

from metrics.ledgers import Ledgers
from sessions.changes import Ledger


def test_a_slot_that_lost_its_data_counts_on_at_once() -> None:
    ledgers = Ledgers(slots=2)
    ledgers.take(0, Ledger(started=1_000, ended={"user_exit": 900}))
    ledgers.take(1, Ledger(started=50))
    # Emptied, and three have come since: 1,000 + 50 + 3.
    ledgers.take(0, Ledger(started=3, ended={"user_exit": 1}))
    assert ledgers.sums["started",] == 1_053
    assert ledgers.sums["ended", "user_exit"] == 901
    ledgers.take(0, Ledger(started=5, ended={"user_exit": 1}))
    assert ledgers.sums["started",] == 1_055


def test_a_successor_that_is_a_little_behind_adds_nothing_until_it_has_caught_up() -> None:
    ledgers = Ledgers(slots=1)
    ledgers.take(0, Ledger(started=1_000))
    for started in (998, 1_000, 1_001):
        ledgers.take(0, Ledger(started=started))
    assert ledgers.sums["started",] == 1_001
