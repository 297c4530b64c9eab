"""Real players on live streams in a real browser: at each second the tracker shows what the element is, and adds it up to the same seconds."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.browser.chromium import PROGRAM, browser
from tests.browser.drama import SCENARIOS, Case
from tests.browser.media import FOLDER, Media, media_server
from tests.browser.tab import tab
from tests.browser.trackers import tracker
from tests.browser.truth import Viewing, apart, dark_s, differences, faults, viewings

AT_ONCE: Final = 5
RESULTS: Final = FOLDER / "results"
SHORT: Final = frozenset(
    {
        ("bare", "library", "life"),
        ("bare", "library", "leave"),
        ("hls.js", "library", "life"),
        ("hls.js", "library", "come_back"),
        ("hls.js", "library", "second_stream"),
        ("dash.js", "library", "life"),
        ("shaka", "library", "life"),
        ("hls.js", "library", "tracker_refuses"),
    }
)
"""What `make test` plays: some minute and a half. All of it is `make browsers`."""
LIBRARY: Final = [
    (player, "library", scenario)
    for player in ("bare", "hls.js", "dash.js", "shaka")
    for scenario in SCENARIOS
    if (player, scenario) != ("bare", "missing_segments")
]
"""All but one: a bare element's film has no segments."""
SHOWN_ALSO: Final = {"starting": "failed", "rebuffering": "failed"}
"""A player says that it has failed, where its element only waits."""


@dataclass(frozen=True)
class Outcome:
    """What was seen of one case, by the element and by the tracker."""

    case: Case
    truth: list[Viewing]
    described: list[dict[str, Any]]


def key(player: str, way: str, scenario: str) -> str:
    return f"{player}-{way}-{scenario}"


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Outcome | BaseException]]:
    """Play all that was asked for, several at once."""
    if not PROGRAM.exists():
        pytest.skip("no Chromium: make .venv/.browser says why")
    if not (FOLDER / "node_modules").exists() or not (FOLDER / "ffmpeg").exists():
        pytest.skip("no players, or no ffmpeg: make .venv/.players says why")
    items = [item for item in request.session.items if item.path == request.path and isinstance(item, pytest.Function)]
    wanted = [item.callspec.params["case"] for item in items if "case" in item.callspec.params]
    # The longest first.
    wanted.sort(key=lambda case: case[2] not in {"tracker_gone", "life"})
    with (
        tempfile.TemporaryDirectory() as folder,
        media_server(Path(folder)) as media,
        browser() as chromium,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        running = {key(*case): pool.submit(play, case, media, chromium.address) for case in wanted}
        yield {name: _outcome(each.exception(), each) for name, each in running.items()}


def _outcome(error: BaseException | None, running: Any) -> Outcome | BaseException:
    return running.result() if error is None else error


def play(wanted: tuple[str, str, str], media: Media, address: str) -> Outcome:
    with tracker() as counting, tab(address) as opened:
        case = Case(*wanted, media, counting, opened)
        case.play_out()
        pages = [each["seen"] for each in case.run.seen]
        kept = [page for page in pages if not any(mine[: len(page)] == page for mine in case.seen)]
        truth = [viewing for page in [*kept, *case.seen] for viewing in viewings(page)]
        sessions = sorted(counting.sessions(case.name), key=lambda session: session.created_at)
        return Outcome(case, truth, [counting.described(each.session_id) for each in sessions])


def cases(wanted: list[tuple[str, str, str]]) -> list[Any]:
    return [pytest.param(case, id=key(*case), marks=() if case in SHORT else pytest.mark.long) for case in wanted]


@pytest.mark.parametrize("case", cases(LIBRARY))
def test_the_tracker_shows_what_the_element_is_and_adds_it_up(
    outcomes: Mapping[str, Outcome | BaseException], case: tuple[str, str, str]
) -> None:
    outcome = outcomes[key(*case)]
    if isinstance(outcome, BaseException):
        raise outcome
    played, truth, described = outcome.case, outcome.truth, outcome.described
    accounts = [each["account"] for each in described]
    report(outcome)
    assert len(described) == len(truth), f"{len(truth)} viewings, {len(described)} sessions: {[each['story'] for each in described]}"
    looks = [look for look in played.looks if not any(begin <= look.at <= end for begin, end in played.blind)]
    assert apart(truth, looks, also=SHOWN_ALSO) == []
    for viewing, account in zip(truth, accounts, strict=True):
        assert faults(viewing, account) == [], (viewing, account)
    assert [each["liveness"] for each in described] == ["ended"] * len(truth), "each said that it was over"
    if case[2] == "life":
        # A second witness: the frames that were shown.
        first = truth[0]
        assert first.ended_at is not None
        dark = dark_s(played.found["frames"], begin=first.began_at + (first.startup_s or 0), end=first.ended_at)
        assert abs(dark - accounts[0]["rebuffering_time_s"] - accounts[0]["paused_time_s"]) < 1.5


def report(outcome: Outcome) -> None:
    """Leave what was found for the table."""
    RESULTS.mkdir(exist_ok=True)
    case = outcome.case
    row = {
        "player": case.player,
        "way": case.way,
        "scenario": case.scenario,
        "viewings": len(outcome.truth),
        "sessions": len(outcome.described),
        "stalls": sum(each.stalls() for each in outcome.truth),
        "off": [differences(viewing, each["account"]) for viewing, each in zip(outcome.truth, outcome.described, strict=False)],
        "found": {name: value for name, value in case.found.items() if name != "frames"},
    }
    (RESULTS / f"{case.name}.json").write_text(json.dumps(row))
