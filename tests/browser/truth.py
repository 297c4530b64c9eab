"""
What an element did, by its own word, and how far a tracker's picture of it is from that.

`viewings` reads an element's events in the plain sense of HTML: asked to play, playing, waiting, paused, over. It knows nothing of our library, of any
player or of the network; frames that were shown are a second witness. Pure: tests judge with it, and it is judged by tests of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

SHOWN_WITHIN_S: Final = 1.5
STARTUP_WITHIN_S: Final = 0.2
SECONDS_WITHIN: Final = (0.5, 0.02)
"""Seconds, or a part of them, whichever is more."""
OVER: Final = frozenset({"ended", "pagehide", "quit"})


@dataclass
class Viewing:
    """One viewing: what it was from when on."""

    began_at: float
    states: list[tuple[float, str]] = field(default_factory=list)
    ended_at: float | None = None
    under_way: bool = False
    """It was found playing: nobody saw it begin."""

    @property
    def state(self) -> str:
        return self.states[-1][1]

    @property
    def startup_s(self) -> float | None:
        """Return the seconds until it first played; None: it never did, or nobody knows."""
        if self.under_way:
            return None
        first = next((at for at, state in self.states if state == "playing"), None)
        return None if first is None else first - self.began_at

    def seconds(self, state: str) -> float:
        """Return how long it was so."""
        assert self.ended_at is not None
        ends = [at for at, _ in self.states[1:]] + [self.ended_at]
        return sum(end - at for (at, each), end in zip(self.states, ends, strict=True) if each == state)

    def stalls(self) -> int:
        """Return how often it came to wait, having played."""
        return sum(1 for _, state in self.states if state == "rebuffering")

    def between(self, begin: float, end: float) -> set[str]:
        """Return all that it was in this time; `none` where it was not, or no longer."""
        found = {"none"} if begin < self.began_at or (self.ended_at is not None and end > self.ended_at) else set()
        ends = [at for at, _ in self.states[1:]] + [self.ended_at or float("inf")]
        return found | {state for (at, state), until in zip(self.states, ends, strict=True) if at <= end and until >= begin}


def viewings(seen: Iterable[Mapping[str, Any]]) -> list[Viewing]:
    """Return the viewings that an element's events tell of, in their order."""
    found: list[Viewing] = []
    now: Viewing | None = None
    for event in seen:
        kind, at = event["type"], event["at"]
        if now is None:
            now = _begun(kind, at, paused=event["paused"])
            found += [] if now is None else [now]
            continue
        played = any(state in {"playing", "ad"} for _, state in now.states)
        if kind in OVER or (kind in {"emptied", "another"} and played):
            now.ended_at = at
            now = _begun("play", at, paused=False) if kind == "another" and not event["paused"] else None
            found += [] if now is None else [now]
            continue
        state = _state_after(kind, event, played=played, was=now.state)
        if state != now.state:
            now.states.append((at, state))
    return found


def _begun(kind: str, at: float, *, paused: bool) -> Viewing | None:
    if kind == "play":
        return Viewing(at, [(at, "starting")])
    if kind in {"playing", "pageshow"} and not paused:
        return Viewing(at, [(at, "playing")], under_way=True)
    return None


def _state_after(kind: str, event: Mapping[str, Any], *, played: bool, was: str) -> str:
    if kind == "error" or (was == "failed" and kind != "playing"):
        return "failed"
    if kind in {"ad", "film"} or was == "ad":
        return "playing" if kind == "film" else "ad"
    if kind == "playing":
        return "playing"
    if (kind == "waiting" and not event["paused"]) or (kind == "play" and was == "paused" and event["ready"] < 3):
        return "rebuffering" if played else "starting"
    return "paused" if kind == "pause" and not event["ended"] else was


@dataclass(frozen=True)
class Look:
    """What a tracker showed at a moment: of each of a stream's sessions that counts, its state."""

    at: float
    states: tuple[str, ...]


def apart(truth: Sequence[Viewing], looks: Iterable[Look], *, also: Mapping[str, str] | None = None) -> list[str]:
    """
    Return each look at which the tracker showed what had not been so within the last second and a half.

    `also`: states that may be shown for another one, as a player's own word of what its element only feels.
    """
    wrong = []
    for look in looks:
        window = (look.at - SHOWN_WITHIN_S, look.at)
        was = [each.between(*window) for each in truth]
        here = [states for states in was if states - {"none"}]
        surely = sum(1 for states in here if "none" not in states)
        allowed = {name for states in here for name in states} | {(also or {}).get(name, "") for states in here for name in states}
        if not surely <= len(look.states) <= len(here) or not set(look.states) <= allowed:
            wrong.append(f"at {look.at:.2f} it showed {look.states}, where it had been {here}")
    return wrong


def is_near(measured: float, told: float) -> bool:
    """Tell whether seconds agree as they are to."""
    return abs(measured - told) <= max(SECONDS_WITHIN[0], SECONDS_WITHIN[1] * measured)


def differences(truth: Viewing, account: Mapping[str, Any]) -> dict[str, float]:
    """Return by how much a tracker's account is off: its figures less the element's."""
    off = {state: account[f"{state}_time_s"] - truth.seconds(state) for state in ("playing", "rebuffering", "paused")}
    if truth.startup_s is not None:
        off["startup"] = (account["startup_time_s"] if account["startup_time_s"] is not None else -99.0) - truth.startup_s
    off["stalls"] = account["rebuffer_count"] - truth.stalls()
    return off


def faults(truth: Viewing, account: Mapping[str, Any]) -> list[str]:
    """Return what of an account is further off than it may be."""
    off = differences(truth, account)
    wrong = [
        f"{state} {off[state]:+.2f} s"
        for state in ("playing", "rebuffering", "paused")
        if not is_near(truth.seconds(state), truth.seconds(state) + off[state])
    ]
    if abs(off.get("startup", 0.0)) > STARTUP_WITHIN_S:
        wrong.append(f"startup {off['startup']:+.2f} s")
    if truth.startup_s is None and account["startup_time_s"] is not None:
        wrong.append(f"a startup of {account['startup_time_s']} s that nobody saw")
    if off["stalls"]:
        wrong.append(f"stalls {off['stalls']:+.0f}")
    return wrong


def dark_s(frames: Sequence[float], *, begin: float, end: float, least: float = 0.5) -> float:
    """Return for how long no frame was shown between two moments, beyond `least` each time."""
    inside = [begin, *(at for at in frames if begin < at < end), end]
    return sum(gap for gap in (after - before for before, after in pairwise(inside)) if gap > least)
