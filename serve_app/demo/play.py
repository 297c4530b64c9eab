"""
`headcount demo`: an audience plays against a running tracker, and in the end both sides' books are laid side by side.

Three acts: the players play; everybody holds still for a moment, and who is watching is compared by stream and state;
then silence, with some who come back, until the last session has expired, and every count and every formula of quality is
compared. Counts are compared as differences since before the demo, which only means something if nobody else plays:
otherwise only the demo's own streams are, and it says so. A session that was there before and is left alone, like that of a pixel
sent by hand, does no harm: it may expire meanwhile, and that is allowed for.

A quick demo has no third act: in it every session ends by itself.
"""

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from actors import clock
from serve_app.access.tokens import load_tokens
from serve_app.demo.books import TICK_S, Books
from serve_app.demo.player import Player, stream_id
from serve_app.demo.said import Span
from serve_app.demo.script import STREAMS, audience
from serve_app.demo.stage import Look, Stage, StageError
from serve_app.demo.verdict import Line, compare_counters, compare_quality, compare_watching, is_exact, side_by_side, summed, table
from serve_app.settings import Settings, SettingsError, typed
from sessions.words import counted

VISIBLE_S: Final = 2.0
"""Within this an acknowledged input shows in what the tracker says."""
LOOKS_MAX: Final = 3
SETTLES_S: Final = 15.0
"""How long the tracker may take to agree, once everybody is silent."""
REFRESH_S: Final = 1.0
_COMPARING_S: Final = 8.0
"""About how long the comparing takes."""
_EXPIRED: Final = ("expired",)


@dataclass(slots=True)
class _Play:
    """One demo under way."""

    stage: Stage
    books: Books
    players: list[Player]
    streams: tuple[str, ...]
    began_at: float
    duration_s: float
    before: Look
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is cleared nobody speaks."""
    strangers: int = 0
    """Sessions of others that were there before. They may expire; if they do more, somebody else plays too."""
    alone: bool = True
    """Nobody else was seen to play."""
    looks: int = 0
    """How often it took to see everybody where they are."""

    def is_alone_in(self, look: Look) -> bool:
        """Say whether nobody is seen but ours and those who were there before."""
        return 0 <= look.everyone - sum(look.watching.values()) <= self.strangers


class _Silence(NamedTuple):
    """What was compared after the play."""

    counters: list[Line]
    quality: list[Line]

    @property
    def agrees(self) -> bool:
        """Say whether all of it does."""
        return all(line.agrees for line in (*self.counters, *self.quality))


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """What is to be played, and what is printed of it."""

    viewers: int
    duration_s: int
    seed: int
    url: str | None = None
    """None: as the settings say."""
    books: Path | None = None
    """Where to keep the demo's own books."""
    quick: bool = False
    """Every session ends by itself: there is no silence to wait for."""
    details: bool = False
    """Print every line that was compared."""

    def lasts_s(self, settings: Settings) -> float:
        """Return about how long all of it takes."""
        silence_s = 0.0 if self.quick else settings.heartbeat_interval_s * settings.expiry_intervals + TICK_S
        return self.duration_s + silence_s + _COMPARING_S


def run(settings: Settings, programme: Programme) -> int:
    """Play, compare, and return the exit code: 0 if the books agree, 1 if not or if there is nobody to play against."""
    console = Console()
    try:
        return asyncio.run(_run(settings, console, programme, url=programme.url or settings.front_door_url))
    except (StageError, SettingsError) as error:
        Console(stderr=True).print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
    except KeyboardInterrupt:
        console.print("Stopped; the sessions that were opened expire by themselves.")
    return 1


async def _run(settings: Settings, console: Console, programme: Programme, *, url: str) -> int:
    stage = await _open_stage(settings, url)
    try:
        run_id = f"demo-{programme.seed}-{secrets.token_hex(4)}"
        streams = tuple(stream_id(run_id, number) for number in range(STREAMS))
        before = await stage.look(streams)
        if before is None:
            raise StageError(f"{url} does not say what it counts")
        began_at = clock.now() + 0.5
        players = [
            Player(
                viewer, run=run_id, began_at=began_at, interval_s=settings.heartbeat_interval_s, expiry_intervals=settings.expiry_intervals
            )
            for viewer in audience(programme.viewers, duration_s=programme.duration_s, seed=programme.seed, all_end=programme.quick)
        ]
        play = _Play(stage, Books(), players, streams, began_at, programme.duration_s, before, strangers=before.everyone)
        console.print(_announcement(programme, url, programme.lasts_s(settings)), highlight=False, soft_wrap=True)
        exit_code = await _perform(play, console, details=programme.details)
        if programme.books is not None:
            await asyncio.to_thread(programme.books.write_text, json.dumps({"streams": streams, **play.books.as_json()}) + "\n")
        return exit_code
    finally:
        await stage.close()


def _announcement(programme: Programme, url: str, lasts_s: float) -> str:
    takes = f"{lasts_s:.0f} seconds" if lasts_s < 90 else f"{lasts_s / 60:.0f} minutes"  # noqa: PLR2004 - people count in minutes from there on
    then = "" if programme.quick else ", then silence until the last session has expired"
    return (
        f"{counted(programme.viewers, 'viewer')} of {STREAMS} streams for {programme.duration_s} s against {url}{then}: "
        f"about {takes} in all."
    )


async def _open_stage(settings: Settings, url: str) -> Stage:
    probe = Stage(url, ingest_token="", ops_token="")
    try:
        problem = await probe.ready()
    finally:
        await probe.close()
    if problem:
        raise StageError(f"{problem}. Start it with {typed('up')}.")
    tokens = load_tokens(settings)
    if tokens.player_key is not None:
        raise StageError("players need JWTs here (HEADCOUNT_JWT_PUBLIC_KEY_FILE), and the demo has no private key to sign any")
    return Stage(url, ingest_token=tokens.ingest, ops_token=tokens.ops)


async def _perform(play: _Play, console: Console, *, details: bool) -> int:
    play.open.set()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        showing = asyncio.create_task(_show(play, live))
        try:
            async with asyncio.TaskGroup() as group:
                for player in play.players:
                    group.create_task(_live(play, player))
                watching = await group.create_task(_hold_still(play))
            silence = await _await_silence(play)
        except ExceptionGroup as group_of_errors:
            failures = group_of_errors.subgroup(StageError)
            if failures is None:
                raise
            raise _first(failures) from None
        finally:
            showing.cancel()
    return _judge(play, console, watching=watching, silence=silence, details=details)


def _first(group: BaseExceptionGroup[StageError]) -> StageError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, StageError) else StageError(str(error))


async def _live(play: _Play, player: Player) -> None:
    """Live one viewer's life."""
    while (due_at := player.due_at(outages_s=play.stage.outages_s)) is not None:
        wait_s = due_at - clock.now()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
            continue
        await play.open.wait()
        said = player.speak(now=clock.now())
        sending, interval_s = await play.stage.tell(said, player)
        play.books.outages_s = play.stage.outages_s
        play.books.note(said, sending)
        player.heard(said, sending, interval_s=interval_s)


async def _hold_still(play: _Play) -> list[Line]:
    """At the end of the play let nobody speak for a moment, and compare who is watching."""
    await asyncio.sleep(play.began_at + play.duration_s - clock.now())
    play.open.clear()
    await play.stage.drained()
    lines: list[Line] = []
    alone = False
    for _ in range(LOOKS_MAX):
        await asyncio.sleep(VISIBLE_S + 0.5)
        look = await play.stage.look(play.streams)
        play.looks += 1
        if look is None:
            continue
        seen_from = look.began_at - look.age_s - VISIBLE_S
        lines = compare_watching(play.books.watching(since=seen_from, now=clock.now()), look.watching)
        alone = play.is_alone_in(look)
        if alone and all(line.agrees for line in lines):
            break
    play.alone = play.alone and alone
    play.open.set()
    return lines


async def _await_silence(play: _Play) -> _Silence:
    """Wait until the last session has expired, then until the tracker's counts are ours, and stay so."""
    await asyncio.sleep(max(0.0, play.books.last_deadline() - clock.now()))
    give_up_at = clock.now() + SETTLES_S
    agreed = 0
    look: Look | None = None
    silence = _Silence([], [])
    while clock.now() < give_up_at and agreed < 3:  # noqa: PLR2004 - twice more, a second apart
        await asyncio.sleep(REFRESH_S)
        play.books.settle(now=clock.now())
        look = await play.stage.look(play.streams)
        if look is not None:
            play.alone = play.alone and play.is_alone_in(look)
            silence = _compare(play, look)
            agreed = agreed + 1 if silence.agrees else 0
    if look is not None and not silence.agrees:
        # Who was there before the demo may have been summed up meanwhile; who did more than that is somebody else who plays.
        silence = _compare(play, look, of_all=False)
        if play.strangers and not silence.agrees:
            play.alone = False
            silence = _compare(play, look)
    return silence


def _compare(play: _Play, look: Look, *, of_all: bool = True) -> _Silence:
    """
    Compare what can be: with somebody else about, only what is the demo's own.

    `of_all`: of quality also what is not told apart by stream, unless others were there before, who are summed up when they are gone.
    """
    apart = not (of_all and play.alone and not play.strangers)
    quality = compare_quality(play.books.quality(), play.before.counters, look.counters, play.streams, alone=not apart)
    if not play.alone:
        return _Silence([_active(play, look)], quality)
    counts = dict(play.books.counts())
    if play.strangers:
        expired = counts.get(_EXPIRED, Span())
        more = look.counters.get(_EXPIRED, 0) - play.before.counters.get(_EXPIRED, 0) - expired.high
        gone = min(max(0, more), play.strangers)
        counts[_EXPIRED] = Span(expired.low + gone, expired.high + gone)
    return _Silence([*compare_counters(counts, play.before.counters, look.counters), _active(play, look)], quality)


def _active(play: _Play, look: Look) -> Line:
    """Return how many of ours are active, on both sides."""
    spans = play.books.watching(since=look.began_at - look.age_s - VISIBLE_S, now=clock.now()).values()
    span = Span(sum(each.low for each in spans), sum(each.high for each in spans))
    return Line("active", span, sum(look.watching.values()))


async def _show(play: _Play, live: Live) -> None:
    """Show both books as they grow, until cancelled."""
    while True:
        look = await play.stage.look(play.streams)
        if look is not None:
            play.books.settle(now=look.began_at)
            live.update(_picture(play, look, now=clock.now()), refresh=True)
        await asyncio.sleep(REFRESH_S)


def _picture(play: _Play, look: Look, *, now: float) -> Group:
    elapsed_s = now - play.began_at
    silent_at = play.books.last_deadline()
    if elapsed_s < play.duration_s:
        phase, done = f"Playing: {elapsed_s:.0f} of {play.duration_s:.0f} s", elapsed_s / play.duration_s
    elif not play.open.is_set():
        phase, done = "Nobody sends for a moment: who is watching?", 1.0
    else:
        left_s = max(0.0, silent_at - now)
        phase = (
            f"Nobody sends any more; the last session expires in {left_s:.0f} s, some come back"
            if left_s
            else "Nobody sends any more; comparing"
        )
        done = 1 - left_s / max(1.0, silent_at - play.began_at - play.duration_s)
    watching = compare_watching(play.books.watching(since=now, now=now), look.watching)
    states = summed(line._replace(name=line.name.rpartition(" ")[2]) for line in watching)
    counters = summed(compare_counters(play.books.counts(), play.before.counters, look.counters))
    requests = f"{play.books.requests} requests acknowledged, {play.stage.retries} sent again"
    bar = Table.grid()  # a bar does not end its line by itself
    bar.add_row(ProgressBar(total=1.0, completed=max(0.0, min(1.0, done)), width=60))
    tables = side_by_side(table("Watching now", states, judged=False), table("Counted so far", counters, judged=False))
    return Group(Text(phase), bar, tables, Text(requests, style="dim"))


def _judge(play: _Play, console: Console, *, watching: list[Line], silence: _Silence, details: bool) -> int:
    """Print both books side by side, the verdict, and one line of what went on; return the exit code."""
    everything = (*watching, *silence.counters, *silence.quality)
    differing = [line for line in everything if not line.agrees]
    if details:
        console.print(table("Watching when the play ended, by stream and state", watching, judged=True))
        console.print(table("Counted in the end", silence.counters, judged=True))
        console.print(table("Quality in the end", silence.quality, judged=True))
    else:
        states = summed(line._replace(name=line.name.rpartition(" ")[2]) for line in watching)
        console.print(
            side_by_side(
                table("Watching when the play ended", states, judged=False),
                table("Counted in the end", summed(silence.counters), judged=False),
            )
        )
        if differing:
            console.print(table("What differs", differing, judged=True))
    if not play.alone:
        console.print("[yellow]Somebody else is playing too: only the demo's own streams were compared, not the counts of all.[/yellow]")
    if play.stage.retries:
        again = counted(play.stage.retries, "request")
        console.print(f"{again} had to be sent again; what may have been taken twice is shown as a range.", highlight=False)
    if differing or not (watching and silence.counters and silence.quality):
        console.print(f"[bold red]The counts differ: {len(differing)} of {counted(len(everything), 'count')}.[/bold red]", highlight=False)
        console.print(f"{play.books.in_short()}. Headcount did not count all of it right.", highlight=False, soft_wrap=True)
        return 1
    how = "exactly" if is_exact((*silence.counters, *silence.quality)) else "within what can be known from outside"
    console.print(
        f"[bold green]The counts agree {how}:[/bold green] {counted(len(silence.counters), 'count')}, {len(silence.quality)} of quality, "
        f"{len(watching)} of who was watching, from {counted(play.books.requests, 'request')}.",
        highlight=False,
    )
    console.print(f"{play.books.in_short()}. Headcount counted all of it right.", highlight=False, soft_wrap=True)
    return 0
