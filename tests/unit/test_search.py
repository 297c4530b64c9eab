"""Which sessions are found, in which order, and how the answers of several shards become one."""

import asyncio
from typing import Any

import pytest

from actors.shard.searching import COSTLY_SLICE, SLICE, Searching
from serve_app.operators.search import cursor_of, joined, place_of
from sessions.changes import Policy
from sessions.search import Found, Query, Search
from sessions.tracker import Tracker
from storage.codec import Profile, pack, unpack_profile
from tests.front_door import OPS, FrontDoor, ask
from tests.unit.inputs import beat, end, event, events, known, start


def profile(user: str, device: str = "phone") -> bytes:
    return pack(Profile(user_id=user, device_id=device))


@pytest.fixture
def tracker() -> Tracker:
    """Four lives: one plays well, one stalled for half its time, one failed at its start and ended, one expired."""
    tracker = Tracker(7, policy=Policy())
    tracker.receive(start(1_000, session_id="gone", stream_id="news", profile=profile("cy")), now=1_000)
    tracker.advance(now=1_100, limit=10)
    tracker.receive(start(1_100, session_id="good", profile=profile("ann", "tv")), now=1_100)
    tracker.receive(events(event("stream_start", 1_101), session_id="good"), now=1_101)
    tracker.receive(start(1_110, session_id="stalled", profile=profile("bob")), now=1_110)
    tracker.receive(events(event("stream_start", 1_111), event("stream_buffer_start", 1_121), session_id="stalled"), now=1_121)
    tracker.receive(beat(1_131, "rebuffering", session_id="stalled"), now=1_131)
    tracker.receive(start(1_120, session_id="failed", profile=profile("ann")), now=1_120)
    tracker.receive(events(event("stream_error", 1_121, fatal=True), session_id="failed"), now=1_121)
    tracker.receive(end(1_122, session_id="failed", reason="error"), now=1_122)
    tracker.validate()
    return tracker


def searched(tracker: Tracker, query: Query) -> Found:
    search = Search(query, profile_of=unpack_profile)
    search.look(list(tracker.sessions.values()), slot=7)
    return Found([(place, search.row(session, now=1_140, remaining_s=1.0)) for place, _, session in search.best()])


def ids(tracker: Tracker, **wanted: Any) -> list[object]:
    return [shown["session_id"] for _, shown in searched(tracker, Query(**wanted)).rows]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["failed", "stalled", "good", "gone"]),
        ({"limit": 2}, ["failed", "stalled"]),
        ({"stream_id": "news"}, ["gone"]),
        ({"user_id": "ann"}, ["failed", "good"]),
        ({"user_id": "an"}, []),
        ({"user_id": "tv"}, []),
        ({"device_id": "tv"}, ["good"]),
        ({"user_id": "ann", "device_id": "phone"}, ["failed"]),
        ({"playback": "rebuffering"}, ["stalled"]),
        ({"liveness": "expired"}, ["gone"]),
        ({"liveness": "active"}, ["stalled", "good"]),
        ({"platform": "roku"}, []),
        ({"platform": "web", "country": "US", "limit": 1}, ["failed"]),
        ({"failure": "start"}, ["failed"]),
        ({"failure": "playback"}, []),
        # Who failed has a score of 0, who left before a frame 25; who is active has none.
        ({"score_below": 25.0}, ["failed"]),
        ({"score_below": 26.0}, ["failed", "gone"]),
        ({"sort": "score"}, ["failed", "gone"]),
        ({"sort": "rebuffering", "limit": 1}, ["stalled"]),
    ],
)
def test_what_is_looked_for_is_found_and_nothing_else(tracker: Tracker, wanted: dict[str, Any], expected: list[str]) -> None:
    assert ids(tracker, **wanted) == expected


def test_a_row_says_who_watches_what_and_how_it_goes(tracker: Tracker) -> None:
    ((_, shown),) = searched(tracker, Query(playback="rebuffering")).rows
    assert shown == {
        "session_id": "stalled",
        "stream_id": "stream",
        "user_id": "bob",
        "device_id": "phone",
        "platform": "web",
        "country": "US",
        "liveness": "active",
        "state": "rebuffering",
        "since": 1_110,
        "seen_at": 1_131,
        # Ten seconds of playing and ten of waiting, from the first frame at 1,111 to the last word at 1,131.
        "watch_time_s": 20.0,
        "rebuffering_time_s": 10.0,
        "stalls": 1,
        "score": None,
        "failure": None,
        "why": "counted as rebuffering: last sign of life 9.0 s ago, expires in 1.0 s without another",
    }


@pytest.mark.parametrize("sort", ["started", "rebuffering"])
def test_page_by_page_everybody_is_told_once_also_if_somebody_comes_meanwhile(tracker: Tracker, sort: str) -> None:
    whole = ids(tracker, sort=sort)
    seen: list[object] = []
    query = Query(sort=sort, limit=1)
    while rows := searched(tracker, query).rows:
        seen += [shown["session_id"] for _, shown in rows]
        query = query._replace(after=place_of(cursor_of(rows[-1][0])))
        if sort == "started":
            tracker.receive(start(1_140, session_id=f"new-{len(seen)}"), now=1_140)
    assert seen == whole


@pytest.mark.parametrize("place", [(1_730_484_900.25, "s"), (-12.5, ""), (0.0, "\0zone\0\u00e9t\u00e9\0me")])
def test_a_cursor_is_its_place(place: tuple[float, str]) -> None:
    assert place_of(cursor_of(place)) == place


@pytest.mark.parametrize("cursor", [b"", b"x", b"00", b"%C2%B9", b"3FF0000000000000", b"3ff00000000000000"])
def test_what_has_not_the_form_of_a_cursor_is_refused_by_name(cursor: bytes) -> None:
    refused = over_http(b"cursor=" + cursor)
    assert (refused.status, refused.fields) == (422, ["cursor"])


@pytest.mark.parametrize("cursor", [b"7ff8000000000000", b"3ff0000000000000ff", b"7ff000000000000061"])
def test_a_cursor_that_somebody_made_up_is_answered(cursor: bytes) -> None:
    assert over_http(b"cursor=" + cursor).status == 200


def found(*places: tuple[float, str], seen_at: float = 0.0) -> Found:
    return Found([(place, {"session_id": place[1], "seen_at": seen_at}) for place in places], 10)


def test_the_best_of_all_shards_are_the_answer_and_a_session_that_moves_is_told_once_as_it_was_seen_last() -> None:
    answer = joined({"a": found((5.0, "x"), (1.0, "y")), "b": found((5.0, "x"), (3.0, "z"), seen_at=9.0), "c": None}, Query(limit=2))
    assert [(row["session_id"], row["seen_at"]) for row in answer["sessions"]] == [("x", 9.0), ("z", 9.0)]
    assert (place_of(answer["next"]), answer["looked_at"], answer["without_shards"]) == ((3.0, "z"), 20, ["c"])
    assert joined({"a": found((5.0, "x"))}, Query(limit=2)) == {
        "sessions": [{"session_id": "x", "seen_at": 0.0}],
        "next": None,
        "looked_at": 10,
    }


class Held:
    """A slot with so many sessions."""

    def __init__(self, sessions: int) -> None:
        self.tracker = Tracker(0, policy=Policy())
        for number in range(sessions):
            self.tracker.receive(start(1_000, session_id=f"s{number}"), now=1_000)


@pytest.mark.parametrize(("query", "at_once"), [(Query(), SLICE), (Query(sort="rebuffering"), COSTLY_SLICE)])
def test_others_have_their_turn_after_every_slice(query: Query, at_once: int) -> None:
    async def scenario() -> tuple[int, int]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        # In small slots too: 4 slices lie in 8 slots; and 50 rows are worked out.
        held = {slot: Held(at_once // 2) for slot in range(8)}
        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        before = turns
        answer = await Searching(held, clock=lambda: 1_000.0).search(query)  # type: ignore[arg-type]
        counting.cancel()
        assert answer is not None
        return answer.looked_at, turns - before

    assert asyncio.run(scenario()) == (at_once * 4, 5)


@pytest.mark.reaches("SEARCHES_WAITING_MAX")
def test_8_look_at_once_in_a_shard_one_after_the_other_and_a_ninth_is_told_that_it_may_not() -> None:
    async def scenario() -> list[bool]:
        searching = Searching({0: Held(2_001)}, clock=lambda: 1_000.0)  # type: ignore[dict-item]
        return [answer is None for answer in await asyncio.gather(*(searching.search(Query()) for _ in range(9)))]

    assert asyncio.run(scenario()) == [False] * 8 + [True]


def test_a_damaged_profile_hides_nobody_else(tracker: Tracker) -> None:
    known(tracker, "good").profile = b"\xc1 ann"

    async def scenario() -> Found | None:
        return await Searching({0: type("Held", (), {"tracker": tracker})}, clock=lambda: 1_000.0).search(Query(user_id="ann"))  # type: ignore[dict-item]

    answer = asyncio.run(scenario())
    assert answer is not None
    assert [shown["session_id"] for _, shown in answer.rows] == ["failed"]


def over_http(query: bytes) -> Any:
    async def scenario() -> Any:
        door = FrontDoor()
        for number in range(3):
            body = b'{"session_id":"s%d","timestamp":"2024-11-01T18:15:00Z","stream_id":"film"}' % number
            await ask(door.app, "POST", "/analytics/live/session/heartbeat", body)
        return await ask(door.app, "GET", "/v1/sessions", query=query, token=OPS)

    return asyncio.run(scenario())


@pytest.mark.reaches("SEARCH_ROWS_MAX")
def test_a_search_over_http_is_answered_and_what_is_wrong_in_it_is_named() -> None:
    answer = over_http(b"stream_id=film&limit=200")
    assert (answer.status, len(answer.json["sessions"]), answer.json["next"]) == (200, 3, None)
    for query, field in (
        (b"limit=201", "limit"),
        (b"limit=0", "limit"),
        (b"state=happy", "state"),
        (b"sort=name", "sort"),
        (b"cursor=x", "cursor"),
        (b"score_below=101", "score_below"),
        (b"failure=none", "failure"),
        (b"liveness=unknown", "liveness"),
    ):
        refused = over_http(query)
        assert (refused.status, refused.code, refused.fields) == (422, "invalid_field", [field]), query
