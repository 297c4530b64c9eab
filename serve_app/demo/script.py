"""
Who watches a demo, and what each of them does when: a pure function of the seed.

It decides lives, not requests: `demo.py` lives them, at its own pace and the server's, and `books.py` says what must be
counted of them. Times are seconds since the demo began. A regular heartbeat is no act: players send it by themselves
for as long as they are there. `lag_s` says how old an input is when it is sent.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Final, NamedTuple

from sessions.events import COMPLETED, CONNECTION_TYPES, END_REASONS, OTHER, PLATFORMS

_REASONS: Final = tuple(reason for reason in END_REASONS if reason not in (OTHER, COMPLETED))
STREAMS: Final = 8
ANCIENT_S: Final = 120.0
"""Older than the reordering window: such an event is counted as late, and moves nothing."""
_LINGERS_S: Final = 0.2

_COUNTRIES: Final = ("US", "BR", "DE", "SE", "IN", "JP")
_QUALITIES: Final = ("1080p", "720p", "480p")
_NEUTRAL: Final = ("reaction", "share", "follow", "subscribe", "tip", "mute", "unmute", "fullscreen_enter", "fullscreen_exit")
_CLOCKS_AHEAD_S: Final = (*(0.0,) * 12, 1.5, -2.0, 40.0, -300.0, 7_200.0, -63_072_000.0)
"""Most clocks are right; one in eighteen is two years behind."""


class Does(StrEnum):
    """What an act sends."""

    START = "start"
    HEARTBEAT = "heartbeat"
    EVENTS = "events"
    END = "end"
    VIEW = "view"
    PLAY = "play"
    CHECK = "check"


class Happens(NamedTuple):
    """One event of an act."""

    name: str
    """Unique in its session."""
    type: str
    lag_s: float = 0.0
    fatal: bool = False
    quality: str | None = None
    """What is shown from then on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One input of one viewer."""

    at_s: float
    does: Does
    lag_s: float = 0.0
    playback: str | None = None
    """What the player does from then on; None: it goes on as before."""
    stream: int | None = None
    """What it watches from then on; None: the same."""
    events: tuple[Happens, ...] = ()
    reason: str = ""
    """Of an end."""
    times: int = 1
    """How often it is sent, word for word: players repeat themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who watches what, on what."""

    stream: int
    platform: str
    country: str
    quality: str
    connection: str
    clock_ahead_s: float
    """Of the player's clock, against the true time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """One viewer's whole life."""

    number: int
    person: Person
    beacon: bool
    """Its player sends pixels, and nothing else."""
    acts: tuple[Act, ...]
    """In order of time."""
    leaves_at_s: float
    """From then on it says nothing, ended or not."""
    encore: tuple[Act, ...] = ()
    """What it does when it comes back after it has expired; times since its return."""


def audience(viewers: int, *, duration_s: float, seed: int, all_end: bool = False) -> list[Viewer]:
    """
    Return the audience of this seed; the same arguments always give the same.

    `all_end`: nobody sends pixels, which cannot end a session, and whoever has not ended does so when the play is over. Then nothing is left
    to expire.
    """
    random = Random(seed)  # noqa: S311 - a play, to be repeated
    if all_end:
        return [_ending(_viewer(random, number, duration_s), duration_s) for number in range(viewers)]
    return [
        _beacon_viewer(random, number, duration_s) if _chance(random, 0.15) else _viewer(random, number, duration_s)
        for number in range(viewers)
    ]


def _ending(viewer: Viewer, duration_s: float) -> Viewer:
    """Return the same life, with an end to its session."""
    if any(act.does is Does.END for act in viewer.acts):
        return viewer
    # After the moment in which everybody holds still: until then who is there is counted.
    end = Act(at_s=duration_s + _LINGERS_S, does=Does.END, reason="user_exit")
    return replace(viewer, acts=(*viewer.acts, end), leaves_at_s=end.at_s, encore=())


def _viewer(random: Random, number: int, duration_s: float) -> Viewer:
    joins_s = duration_s * 0.75 * random.random() ** 1.5
    fate = random.choices(("ends", "vanishes", "returns", "fails", "stays"), (40, 18, 12, 4, 26))[0]
    leaves_s = duration_s if fate == "stays" else joins_s + (duration_s - joins_s) * random.uniform(0.2, 0.95)
    pace = duration_s / 60
    acts = list(_opening(random, joins_s, pace))
    encore: tuple[Act, ...] = ()
    if acts[-1].does is not Does.END and acts[-1].playback != "failed":
        if any(act.playback == "playing" for act in acts):
            acts += _incidents(random, begins_s=acts[-1].at_s, ends_s=leaves_s, pace=pace)
        acts += _finale(random, fate, leaves_s)
        encore = _encore(random) if fate == "returns" else ()
    acts = [act for act in acts if act.at_s <= leaves_s]
    return Viewer(number=number, person=_person(random), beacon=False, acts=tuple(acts), leaves_at_s=leaves_s, encore=encore)


def _beacon_viewer(random: Random, number: int, duration_s: float) -> Viewer:
    joins_s = duration_s * 0.75 * random.random() ** 1.5
    leaves_s = joins_s + (duration_s - joins_s) * random.uniform(0.2, 1.0)
    first = random.choices((Does.VIEW, Does.PLAY, Does.CHECK), (80, 12, 8))[0]
    acts = [Act(at_s=joins_s, does=first, playback="shown" if first is Does.VIEW else "playing", times=_times(random))]
    plays_s = joins_s + random.uniform(0.05, 0.3) * (leaves_s - joins_s)
    if first is Does.VIEW and _chance(random, 0.8):
        acts.append(Act(at_s=plays_s, does=Does.PLAY, playback="playing", times=_times(random)))
    # None comes back: a pixel cannot end a session, and everybody would have to wait for it to expire once more.
    return Viewer(number=number, person=_person(random), beacon=True, acts=tuple(acts), leaves_at_s=leaves_s)


def _person(random: Random) -> Person:
    return Person(
        stream=random.choices(range(STREAMS), [1 / (rank + 1) for rank in range(STREAMS)])[0],
        platform=random.choice(PLATFORMS),
        country=random.choice(_COUNTRIES),
        quality=random.choice(_QUALITIES),
        connection=random.choice(CONNECTION_TYPES),
        clock_ahead_s=random.choice(_CLOCKS_AHEAD_S),
    )


def _chance(random: Random, likely: float) -> bool:
    return random.random() < likely


def _times(random: Random) -> int:
    return 2 if _chance(random, 0.06) else 1


def _opening(random: Random, at_s: float, pace: float) -> Iterator[Act]:
    """Yield how a session comes to be known: most often by its start, else by whatever came through first."""
    how = random.choices(("start", "heartbeat", "event", "end"), (86, 8, 4, 2))[0]
    if how == "end":
        yield Act(at_s=at_s, does=Does.END, reason=random.choice(_REASONS), times=_times(random))
    elif how == "event":
        yield Act(at_s=at_s, does=Does.EVENTS, events=(Happens("first-frame", "stream_start"),), playback="playing", times=_times(random))
    elif how == "heartbeat":
        yield Act(at_s=at_s, does=Does.HEARTBEAT, playback="playing", times=_times(random))
        if _chance(random, 0.5):
            delay_s = random.uniform(1.0, 5.0) * pace
            yield Act(at_s=at_s + delay_s, does=Does.START, lag_s=delay_s + 0.5, times=_times(random))
    else:
        yield Act(at_s=at_s, does=Does.START, playback="starting", times=_times(random))
        yield from _first_frame(random, at_s, pace)


def _first_frame(random: Random, at_s: float, pace: float) -> Iterator[Act]:
    """Yield what comes of a start: a picture, most often; or none for ever, or an error instead, or the viewer does not wait for it."""
    comes_of_it = random.choices(("frame", "nothing", "error", "leaves", "hasty"), (82, 5, 5, 6, 2))[0]
    if comes_of_it == "hasty" and at_s < 15 * pace:
        # Gone before anybody saw that the stream has a viewer, and should have a label.
        comes_of_it = "leaves"
    if comes_of_it == "frame":
        frame_s = at_s + random.uniform(0.3, 2.5) * pace
        if _chance(random, 0.12):
            # A break before the first frame, after which it goes on to start.
            yield from _sees_advertisements(random, at_s + 0.1 * pace, frame_s, "pre-roll", then="starting")
            frame_s += random.uniform(0.1, 0.5) * pace
        yield Act(
            at_s=frame_s, does=Does.EVENTS, events=(Happens("first-frame", "stream_start"),), playback="playing", times=_times(random)
        )
    elif comes_of_it == "error":
        fails_s = at_s + random.uniform(1.0, 3.0)
        events = (Happens("no-picture", "stream_error", fatal=True),)
        yield Act(at_s=fails_s, does=Does.EVENTS, events=events, playback="failed", times=_times(random))
        if _chance(random, 0.5):
            yield Act(at_s=fails_s, does=Does.END, reason="error")
    elif comes_of_it != "nothing":
        waits_s = random.uniform(0.2, 0.7) if comes_of_it == "hasty" else random.uniform(1.2, 4.0)
        yield Act(at_s=at_s + waits_s, does=Does.END, reason=random.choice(("user_exit", "timeout")), times=_times(random))


def _incidents(random: Random, *, begins_s: float, ends_s: float, pace: float) -> Iterator[Act]:
    at_s, number = begins_s, 0
    while True:
        at_s += (0.3 + random.expovariate(1 / 15)) * pace
        lasts_s = random.uniform(0.5, 4.0) * pace
        if at_s + lasts_s >= ends_s:
            return
        number += 1
        kind = random.choices(tuple(_INCIDENTS), [weight for weight, _ in _INCIDENTS.values()])[0]
        yield from _INCIDENTS[kind][1](random, at_s, at_s + lasts_s, f"{kind}-{number}")
        at_s += lasts_s


def _stalls(_random: Random, at_s: float, over_s: float, name: str) -> Iterator[Act]:
    yield _event(at_s, Happens(f"{name}-begins", "stream_buffer_start"), playback="rebuffering")
    yield _event(over_s, Happens(f"{name}-ends", "stream_buffer_end"), playback="playing")


def _reconnects(_random: Random, at_s: float, over_s: float, name: str) -> Iterator[Act]:
    yield _event(at_s, Happens(f"{name}-begins", "stream_reconnect"), playback="rebuffering")
    yield _event(over_s, Happens(f"{name}-ends", "stream_reconnect_success"), playback="playing")


def _tells_later(random: Random, at_s: float, over_s: float, name: str) -> Iterator[Act]:
    both = (Happens(f"{name}-ends", "stream_buffer_end"), Happens(f"{name}-begins", "stream_buffer_start", over_s - at_s))
    yield _event(over_s, *both, playback="playing", times=_times(random))


def _seeks(random: Random, at_s: float, over_s: float, name: str) -> Iterator[Act]:
    yield _event(at_s, Happens(name, "dvr_seek"), times=_times(random))
    if _chance(random, 0.2):
        yield _event(over_s, Happens(f"{name}-back", "dvr_resume_live"), playback="playing")
    else:
        yield from _stalls(random, at_s + min(3.0, (over_s - at_s) / 3), over_s, name)


def _pauses(random: Random, at_s: float, over_s: float, _name: str) -> Iterator[Act]:
    yield Act(at_s=at_s, does=Does.HEARTBEAT, playback="paused", times=_times(random))
    if _chance(random, 0.8):
        yield Act(at_s=over_s, does=Does.HEARTBEAT, playback="playing")


def _changes_quality(random: Random, at_s: float, _over_s: float, name: str) -> Iterator[Act]:
    yield _event(at_s, Happens(name, "quality_change", quality=random.choice(_QUALITIES)), times=_times(random))


def _moves(random: Random, at_s: float, _over_s: float, _name: str) -> Iterator[Act]:
    yield Act(at_s=at_s, does=Does.HEARTBEAT, stream=random.randrange(STREAMS), times=_times(random))


def _hiccups(random: Random, at_s: float, _over_s: float, name: str) -> Iterator[Act]:
    yield _event(at_s, Happens(name, "stream_error"), times=_times(random))


def _is_ancient(_random: Random, at_s: float, _over_s: float, name: str) -> Iterator[Act]:
    yield _event(at_s, Happens(name, "reaction", ANCIENT_S))


def _sees_advertisements(random: Random, at_s: float, over_s: float, name: str, then: str = "playing") -> Iterator[Act]:
    """Yield a break, or one advertisement that no break was told of; one waits in it, another cannot be shown."""
    is_break = _chance(random, 0.7)
    begins, ends = ("ad_break_start", "ad_break_end") if is_break else ("ad_start", "ad_end")
    lasts_s = over_s - at_s
    yield _event(at_s, Happens(f"{name}-begins", begins), playback="ad", times=_times(random))
    if is_break:
        yield _event(at_s + lasts_s / 4, Happens(f"{name}-one", "ad_start"), times=_times(random))
        yield _event(at_s + lasts_s / 2, Happens(f"{name}-one-ends", "ad_end"))
    if _chance(random, 0.3):
        both = (Happens(f"{name}-waits", "stream_buffer_start", lasts_s / 16), Happens(f"{name}-waits-no-more", "stream_buffer_end"))
        yield _event(at_s + lasts_s * 5 / 8, *both)
    if _chance(random, 0.2):
        yield _event(at_s + lasts_s * 6 / 8, Happens(f"{name}-fails", "ad_error"), times=_times(random))
    yield _event(over_s, Happens(f"{name}-ends", ends), playback=then)


def _does_no_harm(random: Random, at_s: float, _over_s: float, name: str) -> Iterator[Act]:
    yield _event(at_s, Happens(name, random.choice(_NEUTRAL)), times=_times(random))


def _is_overtaken(random: Random, at_s: float, over_s: float, name: str) -> Iterator[Act]:
    yield Act(at_s=at_s, does=Does.HEARTBEAT)
    lag_s = over_s - at_s
    yield _event(at_s + lag_s / 4, Happens(name, random.choice(_NEUTRAL), lag_s), times=_times(random))


_INCIDENTS: Final[dict[str, tuple[int, Callable[[Random, float, float, str], Iterator[Act]]]]] = {
    "stall": (20, _stalls),
    "told later": (10, _tells_later),
    "reconnect": (5, _reconnects),
    "seek": (10, _seeks),
    "pause": (13, _pauses),
    "quality": (12, _changes_quality),
    "move": (5, _moves),
    "error": (5, _hiccups),
    "advertisements": (8, _sees_advertisements),
    "neutral": (14, _does_no_harm),
    "reordered": (7, _is_overtaken),
    "ancient": (3, _is_ancient),
}
"""How likely each is, and what the player then does: from when, until when, and a name for its events."""


def _event(at_s: float, *events: Happens, playback: str | None = None, times: int = 1) -> Act:
    return Act(at_s=at_s, does=Does.EVENTS, events=events, playback=playback, times=times)


def _finale(random: Random, fate: str, at_s: float) -> Iterator[Act]:
    """Yield how it goes: ended, failed, or not at all, and perhaps for an advertisement. An ended one may not know when to stop."""
    if fate in {"ends", "vanishes"} and _chance(random, 0.1):
        yield _event(at_s, Happens("one-too-many", "ad_break_start"), playback="ad")
    if fate == "fails":
        yield Act(
            at_s=at_s, does=Does.EVENTS, events=(Happens("fatal", "stream_error", fatal=True),), playback="failed", times=_times(random)
        )
        if _chance(random, 0.5):
            yield Act(at_s=at_s, does=Does.END, reason="error", times=_times(random))
    elif fate == "ends":
        yield Act(at_s=at_s, does=Does.END, reason=random.choice(_REASONS), times=_times(random))
        if _chance(random, 0.1):
            yield Act(at_s=at_s, does=random.choice((Does.HEARTBEAT, Does.START)))
        if _chance(random, 0.1):
            yield Act(at_s=at_s, does=Does.EVENTS, events=(Happens("after-the-end", "share"),))


def _encore(random: Random) -> tuple[Act, ...]:
    """Return what brings it back to life, and ends it for good."""
    back = random.choices((Does.HEARTBEAT, Does.EVENTS, Does.END), (60, 25, 15))[0]
    if back is Does.END:
        return (Act(at_s=0.0, does=Does.END, reason="timeout"),)
    events = (Happens("back-again", "reaction"),) if back is Does.EVENTS else ()
    playback = "playing" if back is Does.HEARTBEAT else None
    return (
        Act(at_s=0.0, does=back, events=events, playback=playback, times=_times(random)),
        Act(at_s=random.uniform(0.2, 0.8), does=Does.END, reason=random.choice(_REASONS), times=_times(random)),
    )
