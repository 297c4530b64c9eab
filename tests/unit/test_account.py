"""The account by itself: whose time an interval is, and that it survives its packing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessions.account import UNKNOWN_NUMBER, Account
from sessions.gains import Gain
from sessions.states import Cue, Playback
from sessions.steady import plays_on
from sessions.window import fingerprint


def apply(account: Account, at: float, cue: Cue, *, cap_s: int = 90, bitrate: int = UNKNOWN_NUMBER, quality: int = 0) -> None:
    account.apply((at, cue, 0, cap_s, bitrate, UNKNOWN_NUMBER, quality))


def spent(account: Account) -> tuple[float, float, float, float]:
    return account.starting_s, account.playing_s, account.rebuffering_s, account.paused_s


def test_a_new_account_has_spent_nothing() -> None:
    assert spent(Account()) == (0, 0, 0, 0)
    assert Account().playback is Playback.STARTING


def test_the_first_input_opens_an_interval_and_closes_none() -> None:
    account = Account()
    apply(account, 1_000_000, Cue.BEAT_PLAYING)
    assert spent(account) == (0, 0, 0, 0)


def test_time_between_two_inputs_belongs_to_the_state_that_the_first_one_set() -> None:
    account = Account()
    apply(account, 0, Cue.BEAT_PLAYING)
    apply(account, 10, Cue.BEAT_PAUSED)
    apply(account, 17, Cue.BEAT_REBUFFERING)
    apply(account, 20, Cue.BEAT)
    apply(account, 25, Cue.END)
    assert spent(account) == (0, 10, 8, 7)


def test_time_that_runs_backwards_counts_nothing() -> None:
    account = Account()
    apply(account, 100, Cue.BEAT_PLAYING)
    apply(account, 50, Cue.BEAT_PLAYING)
    apply(account, 60, Cue.BEAT_PLAYING)
    assert account.playing_s == 10


def test_an_interval_is_clipped_to_the_cap_of_the_input_that_opened_it() -> None:
    account = Account()
    apply(account, 0, Cue.BEAT_PLAYING, cap_s=20)
    apply(account, 1_000, Cue.BEAT_PLAYING, cap_s=90)
    apply(account, 2_000, Cue.BEAT_PLAYING, cap_s=90)
    assert account.playing_s == 20 + 90


def test_time_shown_or_failed_is_nobodys() -> None:
    account = Account()
    apply(account, 0, Cue.VIEW)
    apply(account, 10, Cue.PLAY)
    apply(account, 20, Cue.FATAL_ERROR)
    apply(account, 30, Cue.END)
    assert spent(account) == (0, 10, 0, 0)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from(Cue), st.sampled_from([0, fingerprint("a"), fingerprint("b")])), max_size=30)
)
def test_an_account_that_is_packed_at_every_step_is_the_account_that_never_was(steps: list[tuple[int, Cue, int]]) -> None:
    whole, packed, at = Account(), b"", 0
    for step, cue, quality in steps:
        at += step
        apply(whole, at, cue, quality=quality)
        opened = Account(packed)
        apply(opened, at, cue, quality=quality)
        packed = opened.pack()
    assert Account(packed).pack() == whole.pack()
    assert sum(spent(whole)) <= at


def test_an_account_that_a_newer_build_packed_is_read_without_what_it_appended() -> None:
    account = Account()
    apply(account, 0, Cue.BEAT_PLAYING)
    apply(account, 10, Cue.END)
    assert Account(account.pack() + b"what comes later").pack() == account.pack()


@pytest.mark.parametrize("cue", [Cue.FATAL_ERROR, Cue.END_FOR_ERROR])
def test_a_failure_is_of_the_start_until_a_frame_was_shown(cue: Cue) -> None:
    account = Account()
    apply(account, 0, cue)
    assert account.failure == 1
    account = Account()
    apply(account, 0, Cue.STREAM_START)
    apply(account, 1, cue)
    assert account.failure == 2


numbers = st.sampled_from([UNKNOWN_NUMBER, 0, 5_000_000])


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.integers(-20, 200),
            st.sampled_from([Cue.BEAT_PLAYING, Cue.BEAT_PLAYING, Cue.BEAT_PLAYING, *Cue]),
            st.integers(0, 1),
            st.sampled_from([90, 360]),
            numbers,
            numbers,
            st.sampled_from([0, 0, 7, 8]),
        ),
        max_size=12,
    )
)
def test_a_heartbeat_that_only_says_that_it_plays_on_is_applied_as_any_other(steps: list[tuple[int, Cue, int, int, int, int, int]]) -> None:
    opened, at, told, expected = Account(), 0, Gain(), Gain()
    for step, *rest in steps:
        at += step
        noted = (at, *rest)
        at_rest = opened.pack()
        opened.apply(noted, expected, expected)  # type: ignore[arg-type]
        if plays_on(at_rest, noted, told):  # type: ignore[arg-type]
            assert at_rest == opened.pack()
        else:
            told.__dict__.update(expected.__dict__)
        assert vars(told) == vars(expected)


def test_the_second_of_two_heartbeats_that_play_is_of_that_kind_and_one_that_says_more_is_not() -> None:
    account = Account()
    apply(account, 0, Cue.BEAT_PLAYING, quality=7)
    noted = (30.0, int(Cue.BEAT_PLAYING), 0, 90, UNKNOWN_NUMBER, UNKNOWN_NUMBER, 7)
    assert plays_on(account.pack(), noted, Gain())
    for place, other in ((1, int(Cue.BEAT_PAUSED)), (2, 1), (6, 8)):
        assert not plays_on(account.pack(), (*noted[:place], other, *noted[place + 1 :]), Gain())  # type: ignore[arg-type]
