"""Two books side by side."""

from serve_app.books import Span
from serve_app.verdict import Line, compare_counters, compare_watching, is_exact, summed


def test_counters_are_compared_as_differences_since_before() -> None:
    lines = compare_counters({("started",): Span(3, 3)}, {("started",): 10.0}, {("started",): 13.0})
    assert lines == [Line("started", Span(3, 3), 3)]
    assert lines[0].agrees


def test_a_count_that_only_one_side_has_differs() -> None:
    lines = compare_counters({("events", "share"): Span(1, 1)}, {}, {("events", "tip"): 2.0})
    assert lines == [Line("events share", Span(1, 1), 0), Line("events tip", Span(0, 0), 2)]
    assert not any(line.agrees for line in lines)


def test_of_what_was_rejected_only_what_came_after_the_end_is_compared() -> None:
    after = {("rejected", "start", "no_journal"): 3.0, ("rejected", "end", "session_ended"): 1.0, ("ingest_seconds", "x"): 9.0}
    assert [line.name for line in compare_counters({}, {}, after)] == ["rejected end session_ended"]


def test_what_neither_side_moved_is_not_shown() -> None:
    assert compare_counters({("expired",): Span(0, 0)}, {("expired",): 4.0}, {("expired",): 4.0}) == []
    assert compare_watching({}, {("demo-1-stream-2", "paused"): 0}) == []


def test_watching_is_compared_by_stream_and_state() -> None:
    lines = compare_watching(
        {("demo-1-stream-2", "paused"): Span(1, 2)}, {("demo-1-stream-2", "paused"): 2, ("demo-1-stream-3", "playing"): 1}
    )
    assert lines == [Line("stream 2 paused", Span(1, 2), 2), Line("stream 3 playing", Span(0, 0), 1)]
    assert [line.agrees for line in lines] == [True, False]
    assert not is_exact(lines)
    assert is_exact(lines[1:])


def test_lines_are_summed_by_their_first_word() -> None:
    lines = [Line("ended error", Span(1, 2), 2), Line("ended timeout", Span(3, 3), 3), Line("expired", Span(4, 4), 5)]
    assert summed(lines) == [Line("ended", Span(4, 5), 5), Line("expired", Span(4, 4), 5)]
