"""What the capacity benchmark holds the number against."""

from bench.truth import Truth


def test_a_session_may_be_counted_from_its_first_request_and_must_be_two_seconds_after_its_acknowledgement() -> None:
    truth = Truth()
    truth.came(sent_at=10.0)
    assert truth.bounds(asked_at=9.9, answered_at=9.95) == (0, 0)
    assert truth.bounds(asked_at=10.0, answered_at=10.1) == (0, 1)
    truth.was_let_in(acknowledged_at=10.2)
    assert truth.bounds(asked_at=12.1, answered_at=12.2) == (0, 1)
    assert truth.bounds(asked_at=12.2, answered_at=12.3) == (1, 1)


def test_an_ended_session_may_be_gone_at_once_and_must_be_two_seconds_after_its_acknowledgement() -> None:
    truth = Truth()
    truth.came(sent_at=0.0)
    truth.was_let_in(acknowledged_at=0.1)
    truth.left(sent_at=30.0)
    truth.was_let_out(acknowledged_at=30.5)
    assert truth.bounds(asked_at=29.8, answered_at=29.9) == (1, 1)
    assert truth.bounds(asked_at=29.9, answered_at=30.0) == (0, 1)
    assert truth.bounds(asked_at=32.5, answered_at=32.6) == (0, 0)


def test_a_silent_session_expires_between_its_last_request_and_its_last_acknowledgement() -> None:
    truth = Truth()
    truth.came(sent_at=0.0)
    truth.was_let_in(acknowledged_at=0.0)
    truth.fell_silent(sent_at=30.0, acknowledged_at=31.0, expires_after_s=90.0)
    assert truth.bounds(asked_at=119.8, answered_at=119.9) == (1, 1)
    assert truth.bounds(asked_at=119.9, answered_at=120.0) == (0, 1)
    assert truth.bounds(asked_at=122.9, answered_at=122.95) == (0, 1)
    assert truth.bounds(asked_at=123.0, answered_at=123.1) == (0, 0)


def test_a_slow_answer_leaves_open_what_happened_while_it_was_made() -> None:
    truth = Truth()
    for number in range(3):
        truth.came(sent_at=float(number))
        truth.was_let_in(acknowledged_at=float(number))
    truth.left(sent_at=5.0)
    assert truth.bounds(asked_at=4.0, answered_at=6.0) == (2, 3)
