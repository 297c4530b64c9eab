"""Both machines have an answer to everything, and the page about them says what they do."""

from itertools import product
from pathlib import Path

import pytest

from sessions.events import BEACON_TYPES, EVENT_TYPES
from sessions.states import Cue, Input, Liveness, Playback
from sessions.transitions import (
    AFTER_FRAME,
    BEFORE_FRAME,
    CUE_OF_BEACON,
    CUE_OF_EVENT,
    CUE_OF_FLAG,
    LIVENESS,
    PLAYBACK,
    RESUMES,
    as_markdown,
)

PAGE = Path(__file__).parents[2] / "docs" / "session-states.md"


def test_every_input_has_an_answer_in_every_state_of_liveness() -> None:
    # Nobody waits for a session that nobody has heard of, and only one that ended can be begun after its end.
    after_end = {(before, Input.START_AFTER_END) for before in Liveness if before is not Liveness.ENDED}
    assert LIVENESS.keys() == set(product(Liveness, Input)) - {(Liveness.UNKNOWN, Input.DEADLINE)} - after_end


def test_every_cell_keeps_the_ledgers_equation() -> None:
    """Active must grow by one when a session becomes active, and fall by one when it stops."""
    signs = {"started": 1, "provisional": 1, "revived": 1, "ended": -1, "expired": -1}
    for (before, _), (after, entries) in LIVENESS.items():
        change = (after is Liveness.ACTIVE) - (before is Liveness.ACTIVE)
        assert sum(signs[entry] for entry in entries) == change


@pytest.mark.parametrize("before", [Liveness.EXPIRED, Liveness.ENDED])
def test_only_a_deadline_forgets(before: Liveness) -> None:
    assert {moved_by for (was, moved_by), (after, _) in LIVENESS.items() if was is before and after is Liveness.UNKNOWN} == {Input.DEADLINE}


def test_nothing_leaves_the_ended_state_but_forgetting_and_a_start_stamped_after_the_end() -> None:
    leaving = {Input.DEADLINE, Input.START_AFTER_END}
    assert {LIVENESS[Liveness.ENDED, moved_by] for moved_by in Input if moved_by not in leaving} == {(Liveness.ENDED, ())}


def test_every_cue_has_an_answer_before_and_after_the_first_frame() -> None:
    assert PLAYBACK.keys() == set(Cue)
    assert [PLAYBACK[cue] for cue in Cue] == list(zip(AFTER_FRAME, BEFORE_FRAME, strict=True))


def test_nothing_stalls_before_the_first_frame() -> None:
    assert Playback.REBUFFERING not in BEFORE_FRAME


def test_every_cue_leaves_room_for_what_its_input_named() -> None:
    assert [int(cue) for cue in Cue] == list(range(len(Cue)))
    assert max(Cue) < 32


def test_every_type_of_event_and_beacon_and_every_flag_is_a_cue() -> None:
    assert tuple(CUE_OF_EVENT) == EVENT_TYPES
    assert tuple(CUE_OF_BEACON) == BEACON_TYPES
    assert set(CUE_OF_FLAG) == {None, "idle", "playing", "rebuffering", "paused"}


@pytest.mark.parametrize(
    ("event_type", "after", "before"),
    [
        ("stream_start", "playing", "playing"),
        ("stream_buffer_start", "rebuffering", "starting"),
        ("stream_buffer_end", RESUMES, RESUMES),
        ("stream_reconnect", "rebuffering", "starting"),
        ("stream_reconnect_success", RESUMES, RESUMES),
        ("stream_error", None, None),
        ("program_change", None, None),
        ("quality_change", None, None),
        ("fullscreen_enter", None, None),
        ("fullscreen_exit", None, None),
        ("mute", None, None),
        ("unmute", None, None),
        ("dvr_seek", None, None),
        ("dvr_resume_live", RESUMES, RESUMES),
        ("reaction", None, None),
        ("share", None, None),
        ("follow", None, None),
        ("subscribe", None, None),
        ("tip", None, None),
        ("ad_break_start", "ad", "ad"),
        ("ad_break_end", RESUMES, RESUMES),
        ("ad_start", "ad", "ad"),
        ("ad_end", RESUMES, RESUMES),
        ("ad_error", None, None),
    ],
)
def test_an_event_moves_playback_as_the_vocabulary_says(event_type: str, after: str | None, before: str | None) -> None:
    assert PLAYBACK[CUE_OF_EVENT[event_type]] == (after, before)


@pytest.mark.parametrize(
    ("flag", "after", "before"),
    [
        ("paused", "paused", "paused"),
        ("idle", "paused", None),
        ("rebuffering", "rebuffering", "starting"),
        ("playing", "playing", "playing"),
        (None, None, None),
    ],
)
def test_a_heartbeat_moves_playback_as_the_vocabulary_says(flag: str | None, after: str | None, before: str | None) -> None:
    assert PLAYBACK[CUE_OF_FLAG[flag]] == (after, before)


def test_the_page_of_the_documentation_is_what_the_tables_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown(), "python -m sessions.transitions > docs/session-states.md"
