"""The slot of a session must never change for the life of a data set: fixed, known values."""

import pytest

from sessions.events import beacon_id
from sessions.routing import slot_of


@pytest.mark.parametrize(
    ("session_id", "slots", "slot"),
    [
        # CRC-32 of "123456789" is 0xCBF43926, the check value of its standard.
        ("123456789", 256, 0x26),
        ("123456789", 1_000, 0xCBF43926 % 1_000),
        ("sess_live_xyz001", 256, 87),
        ("müller", 256, 89),
        (beacon_id(pullzone="p", video_id="v", user_id="u"), 256, 61),
        ("", 256, 0),
        ("anything", 1, 0),
    ],
)
def test_a_session_lives_in_this_slot_for_ever(session_id: str, slots: int, slot: int) -> None:
    assert slot_of(session_id, slots=slots) == slot


def test_sessions_spread_over_all_slots() -> None:
    sizes = [0] * 256
    for index in range(25_600):
        sizes[slot_of(f"sess_live_{index:09d}", slots=256)] += 1
    assert min(sizes) > 50
    assert max(sizes) < 150
