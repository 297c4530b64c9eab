"""
The scenarios: what befalls a viewer, the same whatever plays.

Each is a function of a `Case`, which can wait, do something on the page, and break the stream or the tracker. It knows no truth: what the
element did meanwhile is the element's to say.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from actors.messages import NotTaken
from tests.browser.media import Media, Run
from tests.browser.pages import Told, page
from tests.browser.tab import Tab
from tests.browser.trackers import Tracker, until
from tests.browser.truth import Look

EVERY_S: Final = 0.2


@dataclass
class Case:
    """One player in one scenario."""

    player: str
    way: str
    scenario: str
    media: Media
    tracker: Tracker
    tab: Tab
    looks: list[Look] = field(default_factory=list)
    blind: list[tuple[float, float]] = field(default_factory=list)
    """When the tracker could hear nobody: what it showed then is not looked at."""
    found: dict[str, Any] = field(default_factory=dict)
    seen: list[list[dict[str, Any]]] = field(default_factory=list)
    """What the pages that are still there have seen."""

    def __post_init__(self) -> None:
        self.name = f"{self.player}-{self.way}-{self.scenario}"
        self.run: Run = self.media.open(self.name, "")
        told = Told(self.tracker.url, self.tracker.token, self.name, f"session-{self.name}")
        self.run.page = page(self.player, self.way, told)
        self._looking = threading.Event()

    @property
    def address(self) -> str:
        return f"{self.media.url}/r/{self.name}/page.html"

    def play_out(self) -> None:
        """Live through the scenario, and keep all that was seen of it."""
        looking = threading.Thread(target=self._look, daemon=True)
        looking.start()
        try:
            self.tab.go(self.address)
            self._ready()
            SCENARIOS[self.scenario](self)
            self.keep()
        finally:
            self._looking.set()
            looking.join(5)

    def begin(self) -> None:
        """Ask to play, and wait until it does."""
        self.do("begin();")
        self.seen_until("playing")

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def do(self, script: str) -> Any:
        return self.tab.run(script)

    def seen_until(self, kind: str, *, times: int = 1, within_s: float = 40.0) -> None:
        """Wait until the element has said something so many times."""
        count = f"return seen.filter((each) => each.type === '{kind}').length;"
        until(lambda: self.do(count) >= times, within_s=within_s, said=f"{self.name} never says {kind}: {self.do('return seen;')}")

    def count(self, kind: str) -> int:
        return int(self.do(f"return seen.filter((each) => each.type === '{kind}').length;"))

    def keep(self) -> None:
        """Take along what the page saw, if it is still there."""
        if self.do("return Array.isArray(globalThis.seen);"):
            self.seen.append(self.do("return seen;"))
            self.found["frames"] = self.do("return frames;")

    def reload(self) -> None:
        self.tab.call("Page.reload")
        until(self._is_new_page, within_s=20, said="the page does not come again")

    def _is_new_page(self) -> bool:
        return bool(self.do("return globalThis.isReady === true && seen.every((each) => each.type === 'emptied');"))

    def _ready(self) -> None:
        until(lambda: self.do("return globalThis.isReady === true;"), within_s=20, said=f"{self.name}: its page does not get ready")

    def _look(self) -> None:
        while not self._looking.wait(EVERY_S):
            at = time.time()
            states = tuple(str(each.playback) for each in self.tracker.sessions(self.name) if str(each.liveness) == "active")
            self.looks.append(Look(at, states))


def life(case: Case) -> None:
    """Plays, starves for six seconds, pauses, goes back, changes quality, is muted, hidden, and over."""
    case.begin()
    case.wait(3)
    case.run.starved.set()
    case.seen_until("waiting", times=case.count("waiting") + 1)
    case.wait(6)
    stalled = case.count("playing")
    case.run.starved.clear()
    case.seen_until("playing", times=stalled + 1)
    case.wait(3)
    case.do("video.pause();")
    case.wait(3)
    case.do("video.play();")
    case.wait(2)
    if case.player != "bare":  # its film has no way back
        case.do("seek(-14);")
        case.wait(4)
        case.do("change();")
        case.wait(4)
    case.do("video.muted = false; video.muted = true;")
    case.wait(1)
    _over(case)


def hidden(case: Case) -> None:
    """Plays on while its tab is hidden."""
    case.begin()
    case.wait(3)
    case.tab.hide()
    case.wait(6)
    case.found["visibility"] = case.do("return document.visibilityState;")
    case.tab.show()
    case.wait(2)
    _over(case)


def leave(case: Case) -> None:
    """Goes to another page without a word."""
    case.begin()
    case.wait(4)
    case.tab.go(f"{case.media.url}/elsewhere")
    case.wait(2)


def come_back(case: Case) -> None:
    """Goes to another page, and comes back by the browser's button."""
    case.begin()
    case.wait(4)
    case.tab.go(f"{case.media.url}/elsewhere")
    case.wait(3)
    case.tab.back()
    case.found["was_kept"] = case.do("return seen.some((each) => each.type === 'pageshow');")
    if not case.found["was_kept"]:
        case.found["not_kept"] = case.do(
            "return performance.getEntriesByType('navigation')[0].notRestoredReasons?.reasons?.map((each) => each.reason);"
        )
        case._ready()
        case.begin()
    case.wait(1)
    case.do("if (video.paused) await video.play();")
    case.wait(3)
    _over(case)


def reload(case: Case) -> None:
    """Loads the page again."""
    case.begin()
    case.wait(3)
    case.reload()
    case.begin()
    case.wait(3)
    _over(case)


def second_stream(case: Case) -> None:
    """Turns to another stream in the same element."""
    case.media.runs[f"{case.name}-2"] = case.run
    case.begin()
    case.wait(4)
    playing = case.count("playing")
    case.do(f"await another('{case.name}-2');")
    case.seen_until("playing", times=playing + 1)
    case.wait(4)
    _over(case)


def never_played(case: Case) -> None:
    """Loads, and is never asked to play."""
    case.do("await load('.');")
    case.wait(4)


def no_manifest(case: Case) -> None:
    """Asks for a stream that is not there, and leaves."""
    case.run.no_manifest = True
    case.do("begin();")
    case.wait(4)
    case.tab.go(f"{case.media.url}/elsewhere")
    case.wait(2)


def missing_segments(case: Case) -> None:
    """Segments are not found for a while."""
    case.begin()
    case.wait(3)
    case.run.missing = True
    case.seen_until("waiting", times=case.count("waiting") + 1)
    case.wait(3)
    stalled = case.count("playing")
    case.run.missing = False
    case.seen_until("playing", times=stalled + 1)
    case.wait(3)
    _over(case)


def advertisement(case: Case) -> None:
    """Is shown an advertisement in the middle."""
    case.begin()
    case.wait(3)
    case.do("seen.push({ ...seen.at(-1), type: 'ad', at: Date.now() / 1000 }); globalThis.viewing?.ad_break_start();")
    case.wait(4)
    case.do("seen.push({ ...seen.at(-1), type: 'film', at: Date.now() / 1000 }); globalThis.viewing?.ad_break_end();")
    case.wait(3)
    _over(case)


def tracker_gone(case: Case) -> None:
    """Goes on watching, pauses and plays, while the tracker is gone for twenty seconds."""
    case.begin()
    case.wait(3)
    begin = time.time()
    case.tracker.shut()
    case.wait(4)
    case.do("video.pause();")
    case.wait(4)
    case.do("video.play();")
    case.wait(12)
    case.tracker.reopen()
    case.wait(22)
    case.blind.append((begin, time.time()))
    case.wait(2)
    _over(case)


def tracker_refuses(case: Case) -> None:
    """Goes on watching, pauses and plays, while the tracker answers 503."""
    case.begin()
    case.wait(3)
    begin = time.time()
    case.tracker.refuse(NotTaken.NO_JOURNAL)
    case.wait(2)
    case.do("video.pause();")
    case.wait(3)
    case.do("video.play();")
    case.wait(3)
    case.tracker.refuse(None)
    case.wait(14)
    case.blind.append((begin, time.time()))
    case.wait(2)
    _over(case)


def _over(case: Case) -> None:
    case.do("await quit();")
    case.wait(2)


SCENARIOS: Final[Mapping[str, Callable[[Case], None]]] = MappingProxyType(
    {
        each.__name__: each
        for each in (
            life,
            hidden,
            leave,
            come_back,
            reload,
            second_stream,
            never_played,
            no_manifest,
            missing_segments,
            advertisement,
            tracker_gone,
            tracker_refuses,
        )
    }
)
