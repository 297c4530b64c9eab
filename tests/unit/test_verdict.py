"""Two books side by side."""

from serve_app.demo.said import Span
from serve_app.demo.verdict import Line, compare_counters, compare_quality, compare_watching, is_exact, summed


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


MINE = "run-stream-1"


def test_counts_of_quality_agree_exactly_and_seconds_within_a_hundredth() -> None:
    played = {("plays", MINE): Span(100, 100), ("playing", MINE): Span(1_000.0, 1_000.0), ("startup", "sum"): Span(50.0, 51.0)}
    right = {("plays", MINE): 100.0, ("playing", MINE): 1_009.9, ("startup", "sum"): 49.6}
    lines = compare_quality(played, {}, right, [MINE], alone=True)
    assert [line.name for line in lines] == ["playing stream 1", "plays stream 1", "startup_sum"]
    assert all(line.agrees for line in lines)
    wrong = {("plays", MINE): 101.0, ("playing", MINE): 1_010.1, ("startup", "sum"): 49.4}
    assert [line.agrees for line in compare_quality(played, {}, wrong, [MINE], alone=True)] == [False, False, False]


def test_while_somebody_else_plays_only_the_demos_own_streams_are_compared() -> None:
    played = {("plays", MINE): Span(1, 1), ("plays", "unknown"): Span(1, 1), ("startup", "count"): Span(1, 1)}
    after = {("plays", MINE): 1.0, ("plays", "theirs"): 5.0, ("startup", "count"): 6.0}
    assert [line.name for line in compare_quality(played, {}, after, [MINE], alone=False)] == ["plays stream 1"]
    assert [line.agrees for line in compare_quality(played, {}, after, [MINE], alone=True)] == [True, False, False]


def test_a_stream_without_a_label_is_not_compared() -> None:
    assert compare_quality({("plays", MINE): Span(1, 1)}, {}, {("plays", "other"): 1.0}, [MINE], alone=False) == []
