"""
A whole tracker in one thread: players, shards, a directory, an exporter and a journal, and everything that goes wrong between them.

Everything random comes from one seeded generator, and time is the virtual loop's, so that a seed and a commit reproduce a run to
the last byte. Players retry until they are acknowledged, as ours do; what was acknowledged is what the world holds the shards to.

`Scale` stretches every period of our own (tick, sign of life, gap, the directory's patience, the players' intervals and retries)
by one factor: the logic has no period of its own, and an hour then costs a minute's work.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from actors.directory import placement
from actors.directory.fleet import Patience
from actors.directory.front_door import FrontDoor
from actors.directory.plan import PlanRefusedError
from actors.directory.steward import BUSY_ROUND_S, ROUND_S, Steward
from actors.health import DirectoryAwayError, Health
from actors.messages import NotTaken, decode_reply, encode_batch, encode_item
from actors.shard.outages import Rhythm
from actors.shard.shard import Shard
from metrics.totals import Totals
from sessions.changes import Policy, Receipt
from sessions.events import End, Event, Happening, Happenings, Heartbeat, Start
from sessions.routing import slot_of
from storage.journal import JournalError, JournalUnavailableError
from storage.memory_journal import MemoryJournal, MemoryStore
from tests.simulation.virtual_time import VirtualLoop

MACHINES = 3
EVENT_KINDS = (
    ("reaction", "mute", "stream_buffer_start", "stream_buffer_end"),
    ("ad_break_start", "ad_start", "ad_end", "ad_break_end"),
    ("dvr_seek", "stream_buffer_start", "stream_buffer_end", "dvr_resume_live"),
    ("stream_error", "stream_start", "quality_change", "unmute"),
)
STAMPS: tuple[dict[str, float], ...] = ({}, {}, {"mute": 253_402_300_799.0}, {"unmute": 0.0})
"""What some players stamp events with, whatever the time is."""
SHARDS_MAX = 5


class Scale(NamedTuple):
    """How big a world is, and how slow its time."""

    hours: float
    stretch: float = 60.0
    """1.0: the real periods."""
    shards: int = 3
    slots: int = 8
    players: int = 8
    trouble_every_s: float = 60.0
    """Before it is stretched."""


@dataclass
class Truth:
    """What was acknowledged of one session."""

    session_id: str
    at: float = 0.0
    """When its last acknowledged request was sent, the last time; server's time."""
    started: bool = False
    ended: int | None = None
    """The player's own total, once its end was acknowledged."""
    returns: int = 0
    """How often it came back under the same id, after an end that was acknowledged."""
    is_returning: bool = False
    is_starting: bool = False
    """Its start is on its way: whether it was taken is not known yet."""
    gone: bool = False
    """It vanished without a word, and may expire."""
    late: bool = False
    """Its start came after its first heartbeats."""
    heartbeats: int = 0
    clock_was_set: bool = False
    """Back: whether a heartbeat counts for itself then depends on how long each was under way."""
    events: list[tuple[str, str]] = field(default_factory=list)
    """(event_id, type)"""


class Network:
    """One shard's way to the journal."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.away_until = float("-inf")
        self.torn_until = float("-inf")
        self.slow_until = float("-inf")

    def __call__(self, moment: str, operation: str) -> Awaitable[None] | None:
        now, random = self._world.clock(), self._world.random
        if (moment, operation) == ("before", "release"):
            self._world.release_begins()
        if max(self.away_until, self._world.journal_away_until) > now and moment == "before":
            raise JournalUnavailableError("away")
        if self.torn_until > now and random.random() < 0.5:
            raise JournalUnavailableError(f"torn {moment} {operation}")
        if self.slow_until > now:
            return asyncio.sleep(random.random() * 2.0 * self._world.scale.stretch)
        return None


@dataclass(eq=False)
class Place:
    """A place where one shard lives, dies and is born again."""

    name: str
    network: Network
    shard: Shard | None = None
    machine: str = ""
    ended: bool = False
    """The directory did it: it is not born again, unless it is created."""
    births: int = 0
    may_live_at: float = float("-inf")
    unheard_until: float = float("-inf")
    """The directory cannot reach it, but players and journal can."""
    calls: set["asyncio.Task[bytes]"] = field(default_factory=set)


class World:
    """All parts of one simulated tracker, made from a seed."""

    def __init__(self, seed: int, scale: Scale) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.clock = loop.clock
        self.random = Random(seed)
        self.scale = scale
        stretch = scale.stretch
        self.policy = Policy(int(30 * stretch), 3, 1_800.0 * stretch)
        self.rhythm = Rhythm(
            tick_s=(0.25 if stretch == 1.0 else 1.0) * stretch,
            touch_s=stretch,
            gap_s=5 * stretch,
            door_word_s=10 * stretch,
            retry_first_s=0.1 * stretch,
            retry_most_s=stretch,
        )
        self.store = MemoryStore(clock=self.clock)
        self.journal_away_until = float("-inf")
        self.door_shut_until = float("-inf")
        self.places = {f"shard-{n}": Place(f"shard-{n}", Network(self)) for n in range(scale.shards)}
        self.machines = [placement.Node(f"machine-{n}", "", takes_shards=True) for n in range(MACHINES)]
        self.truths: dict[str, Truth] = {}
        self.totals = Totals(now=self.clock())
        self.steward: Steward | None = None
        self.broken: list[BaseException] = []
        self.happened: Counter[str] = Counter()
        self.wiped = False
        """The journal does not hold everything: it is being written back."""
        self.wipes_with_release = False
        """The next slots that are given up go with the data set."""
        self.calm = False
        """Nothing more goes wrong."""
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble: asyncio.Task[None]
        self._directory: asyncio.Task[None] | None = None

    # The house.

    async def begin(self) -> None:
        await self._new_directory()
        self._trouble = asyncio.create_task(self._make_trouble())
        self._tasks += [self._trouble, asyncio.create_task(self._collect())]

    async def settle(self) -> None:
        """Let everything heal, and wait until every slot is served and every shard has the journal's word."""
        self.calm = True
        # The trouble that is under way ends by itself.
        await self._trouble
        now = self.clock()
        self.journal_away_until = self.door_shut_until = now
        for place in self.places.values():
            place.network.away_until = place.network.torn_until = place.network.slow_until = now
            place.may_live_at = place.unheard_until = now
        await asyncio.sleep(90 * self.scale.stretch)
        self.check_alive()
        assert self.steward is not None
        assert self.steward.is_settled(), self.steward.status()
        assert self.steward.status()["as_planned"], self.steward.status()
        assert len(self.living()) == self.steward.status()["planned_shards"]
        assert all(shard.status()["journal_up"] for shard in self.living())

    def living(self) -> list[Shard]:
        return [place.shard for place in self.places.values() if place.shard is not None]

    def check_alive(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()
        if self._directory is not None and self._directory.done() and not self._directory.cancelled():
            self._directory.result()
        if self.broken:
            raise self.broken[0]

    async def _new_directory(self) -> None:
        if self._directory is not None:
            self._directory.cancel()

        async def probe() -> bool:
            return self.clock() >= self.door_shut_until

        stretch = self.scale.stretch
        self.steward = Steward(
            journal=MemoryJournal(self.store),
            shards=self.scale.shards,
            shards_are_set=False,
            name=lambda index: f"shard-{index}",
            slots=self.scale.slots,
            instance="world",
            run="run",
            port=self,
            clock=self.clock,
            front_door=FrontDoor(probe, now=self.clock(), opening_s=600 * stretch),
            patience=Patience(5 * stretch, 20 * stretch, 5 * stretch),
        )
        await self.steward.open()
        self._directory = asyncio.create_task(self._direct(self.steward))

    async def _direct(self, steward: Steward) -> None:
        while True:
            busy = await steward.look()
            await asyncio.sleep((BUSY_ROUND_S if busy else ROUND_S) * self.scale.stretch)

    async def confirm(self, shard: str, epochs: Mapping[int, int]) -> Sequence[int]:
        if self.steward is None:
            raise DirectoryAwayError
        return await self.steward.confirm(shard, epochs)

    # `steward.Shards`: how the directory reaches shards here.

    async def watch(self, shard: str, *, front_door_up: bool, restarts: int) -> Health | None:
        place = self._place(shard)
        if place.shard is None or self.clock() < place.unheard_until:
            return None
        return place.shard.watch(front_door_up=front_door_up, restarts=restarts)._replace(node=place.machine)

    async def own(self, shard: str, expected: Mapping[int, int], *, after_wipe: bool) -> None:
        place = self._place(shard)
        if place.shard is not None:
            place.shard.own(expected, after_wipe=after_wipe)

    async def release(self, shard: str, slots: Sequence[int]) -> None:
        place = self._place(shard)
        if place.shard is not None:
            releasing = asyncio.create_task(place.shard.release(slots))
            await asyncio.wait([releasing], timeout=5 * self.scale.stretch)
            if not releasing.done() or releasing.cancelled():
                # Too slow, or the shard was killed meanwhile.
                self.happened["release unanswered"] += 1
                return
            releasing.result()

    async def create(self, shard: str, *, node: str | None) -> None:
        home = self._place(shard)
        if home.shard is None and self.clock() >= home.may_live_at:
            assert node is not None
            home.machine, home.ended = node, False
            self._give_birth(home)

    async def end(self, shard: str) -> bool:
        self.happened["shard ended"] += 1
        place = self._place(shard)
        if place.shard is not None and self.clock() >= place.unheard_until:
            stopping = asyncio.create_task(place.shard.stop())
            await asyncio.wait([stopping], timeout=3 * self.scale.stretch)
        place.ended = True
        shard_there, place.shard = place.shard, None
        for call in place.calls:
            call.cancel()
        if shard_there is not None:
            await shard_there.halt()
        return True

    async def existing(self) -> Collection[str]:
        return [name for name, place in self.places.items() if place.shard is not None or not place.ended]

    async def nodes(self) -> Sequence[placement.Node]:
        return self.machines

    def _place(self, shard: str) -> Place:
        return self.places.setdefault(shard, Place(shard, Network(self), ended=True))

    def _give_birth(self, place: Place) -> None:
        place.births += 1
        place.shard = Shard(
            place.name,
            incarnation=f"{place.name}/{place.births}",
            policy=self.policy,
            journal=MemoryJournal(self.store, faults=place.network),
            clock=self.clock,
            monotonic=asyncio.get_running_loop().time,
            confirm=self.confirm,
            end=self.broken.append,
            rhythm=self.rhythm,
        )
        place.shard.start()

    async def _collect(self) -> None:
        while True:
            await asyncio.sleep(self.scale.stretch)
            self.collect()

    def collect(self) -> None:
        """Do the exporter's round; some reports are lost on their way, once in a while the same is asked for again."""
        for shard in self.living():
            report = shard.collect(self.totals.known(shard.name))
            if not self.calm and self.random.random() < 0.1:
                self.happened["report lost"] += 1
                continue
            self.totals.add_shard(report, now=self.clock())
        self.totals.tick(now=self.clock())

    # What goes wrong.

    async def _make_trouble(self) -> None:
        random, stretch = self.random, self.scale.stretch
        troubles = {
            "crash": self._crash,
            "journal away": self._lose_journal,
            "one shard's journal away": self._cut_journal,
            "torn": self._tear,
            "slow": self._slow_down,
            "unheard": self._unhear,
            "directory dies": self._new_directory,
            "door shut": self._shut_door,
            "wipe": self._wipe,
            "wipe with a release": self._wipe_with_release,
            "power cut": self._cut_power,
            "scaled": self._scale,
            "drained": self._drain,
            "rolled out": self._roll_out,
        }
        while not self.calm:
            await asyncio.sleep(random.expovariate(1.0 / (self.scale.trouble_every_s * stretch)))
            if self.calm:
                return
            name = random.choice(list(troubles))
            self.happened[name] += 1
            await troubles[name]()

    def _some_time(self) -> float:
        """Mostly short, now and then longer than the players' deadlines."""
        return self.random.choice((0.5, 3.0, 8.0, 20.0, 200.0)) * self.scale.stretch * (0.5 + self.random.random())

    def _some_node(self) -> Place:
        return self.random.choice(list(self.places.values()))

    async def _crash(self) -> None:
        await self._kill(self._some_node(), self.random.choice((2.0, 4.0, 30.0)) * self.scale.stretch)

    async def _cut_power(self) -> None:
        """Lose every process at once; only the journal stays."""
        dead_s = self._some_time()
        if self._directory is not None:
            self._directory.cancel()
        for place in self.places.values():
            await self._kill(place, dead_s)
        self.steward = None
        await asyncio.sleep(dead_s)
        await self._new_directory()

    async def _kill(self, place: Place, dead_s: float) -> None:
        if place.shard is None:
            return
        shard, place.shard = place.shard, None
        for call in place.calls:
            call.cancel()
        await shard.halt()
        place.may_live_at = self.clock() + dead_s
        self._tasks.append(asyncio.create_task(self._restart(place, dead_s)))

    async def _restart(self, place: Place, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if place.shard is None and not place.ended:
            self._give_birth(place)

    async def _lose_journal(self) -> None:
        self.journal_away_until = self.clock() + self._some_time()

    async def _cut_journal(self) -> None:
        self._some_node().network.away_until = self.clock() + self._some_time()

    async def _tear(self) -> None:
        self._some_node().network.torn_until = self.clock() + self._some_time()

    async def _slow_down(self) -> None:
        self._some_node().network.slow_until = self.clock() + self._some_time()

    async def _unhear(self) -> None:
        """Cut a shard off from the directory; while the door is shut, too."""
        self._some_node().unheard_until = self.clock() + self._some_time()

    async def _shut_door(self) -> None:
        """Let no player in; while a shard cannot be told so, too."""
        self.door_shut_until = self.clock() + self._some_time()

    async def _scale(self) -> None:
        await self._ask_for("scale", self.random.randint(1, SHARDS_MAX))

    async def _drain(self) -> None:
        await self._ask_for(self.random.choice(("drain", "undrain")), self.random.choice(self.machines).node_id)

    async def _roll_out(self) -> None:
        await self._ask_for("rollout")

    async def _ask_for(self, what: str, *arguments: object) -> None:
        try:
            await getattr(self.steward, what)(*arguments)
        except (PlanRefusedError, JournalError):
            self.happened["order refused"] += 1

    async def _wipe(self) -> None:
        """Lose the data set; who loses its memory before it was written back loses sessions, so wait until it is."""
        if not self._lose_data_set():
            self.happened["wipe called off"] += 1
        await self._written_back()

    async def _wipe_with_release(self) -> None:
        """Lose the data set in the moment in which a shard gives slots up, and holds the only copy of them."""
        self.wipes_with_release = True
        await self._roll_out()
        for _ in range(60):
            if self.wipes_with_release:
                await asyncio.sleep(self.scale.stretch)
        self.wipes_with_release = False
        await self._written_back()

    def release_begins(self) -> None:
        """Hear that the journal is just being asked to take slots back."""
        if self.wipes_with_release and self._lose_data_set():
            self.wipes_with_release = False
            self.happened["data set lost with a release"] += 1

    def _lose_data_set(self) -> bool:
        everybody = [place.shard for place in self.places.values() if not place.ended]
        held = {slot for shard in self.living() for slot in shard.held}
        if None in everybody or len(held) < self.scale.slots or any(shard.status()["coming"] for shard in self.living()):
            return False
        # A slot that is nobody's in this moment is in the journal alone, and a shard that is cut off may be taken for dead: two faults at once.
        is_nobodys = any(not fence.owner for fence in self.store.fences.values())
        if is_nobodys or any(self.clock() < place.unheard_until for place in self.places.values()):
            return False
        self.store.wipe()
        self.wiped = True
        self.happened["data set lost"] += 1
        return True

    async def _written_back(self) -> None:
        async with asyncio.timeout(2_000 * self.scale.stretch):
            while self.wiped and not self._is_written_back():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(self.scale.stretch)
        self.wiped = False

    def _is_written_back(self) -> bool:
        return len(self.store.records) == self.scale.slots and all(shard.status()["journal_up"] for shard in self.living())

    # How players reach shards.

    async def ask(self, event: Event) -> tuple[Receipt, float]:
        """Send one request until it is acknowledged; return the receipt, and when it was sent for the last time."""
        slot = slot_of(event.session_id, slots=self.scale.slots)
        batch = encode_batch([encode_item(slot, event)])
        while True:
            sent_at = self.clock()
            receipt = await self._try(slot, batch)
            if receipt is not None:
                return receipt, sent_at
            self.happened["request sent again"] += 1
            await asyncio.sleep((0.5 + 2.0 * self.random.random()) * self.scale.stretch)

    async def _try(self, slot: int, batch: bytes) -> Receipt | None:
        if self.clock() < self.door_shut_until:
            return None
        fence = self.store.fences.get(slot)
        place = self.places.get(fence.owner) if fence is not None else None
        if place is None or place.shard is None:
            return None
        call = asyncio.create_task(place.shard.receive(batch))
        place.calls.add(call)
        await asyncio.wait([call], timeout=10 * self.scale.stretch)
        place.calls.discard(call)
        if not call.done() or call.cancelled():
            call.cancel()
            return None
        [outcome] = decode_reply(call.result())
        if isinstance(outcome, NotTaken):
            self.happened[outcome.name.lower()] += 1
            return None
        if not self.calm and self.random.random() < 0.02:
            self.happened["answer lost"] += 1
            return None
        return outcome


class Player:
    """One device that watches, again and again."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._number = number
        self._random = Random(world.random.random())
        self._skew_s = self._random.uniform(-1e6, 1e6)
        self._sessions = 0
        self._twice = 0.0
        """Share of its requests that are sent twice at once."""

    async def play(self) -> None:
        """Watch one session after another; once the world is calm, stay in the last."""
        while True:
            await self._watch()

    def _now(self) -> float:
        return self._world.clock() + self._skew_s

    async def _ask(self, truth: Truth, event: Event) -> Receipt:
        if self._random.random() < self._twice:
            # Its client library asks for the same at once over two connections, and two replicas carry it.
            self._world.happened["request doubled"] += 1
            (receipt, at), (again, again_at) = await asyncio.gather(self._world.ask(event), self._world.ask(event))
            truth.at = max(at, again_at)
            assert (receipt.accepted, receipt.accepted_count) == (again.accepted, again.accepted_count), (truth, receipt, again)
            return receipt
        receipt, truth.at = await self._world.ask(event)
        return receipt

    async def _watch(self) -> None:
        self._sessions += 1
        truth = Truth(f"player-{self._number}-{self._sessions}")
        self._world.truths[truth.session_id] = truth
        random, stretch, world = self._random, self._world.scale.stretch, self._world
        self._twice = random.choice((0.0, 0.0, 0.1, 0.5))
        opens = random.random()
        if opens < 0.7:
            await self._start(truth)
        beats = random.randrange(1, 12)
        while beats or world.calm:
            beats -= 1
            await self._beat(truth)
            if random.random() < 0.3:
                await self._send_events(truth)
            if not truth.started and 0.7 <= opens < 0.85:
                truth.late = True
                await self._start(truth)
            elif truth.started and random.random() < 0.1:
                # It zaps, and says so with a start.
                await self._start(truth)
            if random.random() < 0.05:
                await self._set_clock(truth)
            await asyncio.sleep(30 * stretch * (0.8 + 0.2 * random.random()))
        if random.random() < 0.5:
            receipt = await self._ask(truth, End(truth.session_id, self._now(), "user_exit", self._sessions, 0, 0))
            # An end whose answer got lost is answered, the second time, with what the first said.
            assert receipt.total_watch_s == self._sessions, (truth, receipt)
            truth.ended = self._sessions
            if random.random() < 0.3 and not world.calm:
                await self._come_back(truth)
        else:
            truth.gone = True
        await asyncio.sleep(30 * stretch * random.random())

    async def _come_back(self, truth: Truth) -> None:
        """Watch on under the same id, as a page from the browser's cache does, and leave once more."""
        await asyncio.sleep(10 * self._world.scale.stretch)
        self._world.happened["came back"] += 1
        truth.is_returning, truth.ended = True, None
        await self._start(truth)
        truth.returns, truth.is_returning = truth.returns + 1, False
        await self._beat(truth)
        await asyncio.sleep(20 * self._world.scale.stretch)
        receipt = await self._ask(truth, End(truth.session_id, self._now(), "timeout", self._sessions, 0, 0))
        assert receipt.accepted, (truth, receipt)
        truth.ended = self._sessions

    async def _start(self, truth: Truth) -> None:
        stream, truth.is_starting = f"live-{self._random.randrange(3)}", True
        receipt = await self._ask(truth, Start(truth.session_id, self._now(), stream, "c", "c", "p", "web", "DE", "wifi", "auto"))
        assert receipt.accepted, (truth, receipt)
        truth.started, truth.is_starting = True, False

    async def _set_clock(self, truth: Truth) -> None:
        """Set the player's clock: ahead at once, or back, which only several inputs together can tell."""
        step_s = self._random.choice((-7_200.0, -90.0, 90.0, 7_200.0, 1e6)) * self._world.scale.stretch
        self._world.happened["clock set"] += 1
        self._skew_s += step_s
        truth.clock_was_set = truth.clock_was_set or step_s < 0

    async def _beat(self, truth: Truth) -> None:
        receipt = await self._ask(truth, self._some_beat(truth))
        assert receipt.accepted, (truth, receipt)
        truth.heartbeats += 1

    def _some_beat(self, truth: Truth) -> Heartbeat:
        """Most say that they play; some say too little, or nonsense within what the wire lets through."""
        random = self._random
        playback = random.choice(("playing", "playing", "playing", "paused", "rebuffering", "idle", None))
        stream = random.choice(("live-1", "live-1", "live-2", None))
        bitrate, latency = random.choice((None, 0, 5_000_000)), random.choice((None, 0, 3_600_000_000))
        counter, quality = random.choice((None, 0, 1_000_000)), random.choice((None, "auto", "720p"))
        return Heartbeat(
            truth.session_id,
            self._now(),
            playback,
            stream,
            quality=quality,
            bitrate_bps=bitrate,
            latency_us=latency,
            rebuffer_count=counter,
            behind_live=random.random() < 0.1,
        )

    async def _send_events(self, truth: Truth) -> None:
        kinds = self._random.choice(EVENT_KINDS)
        began_at, known = self._now(), len(truth.events)
        happenings = tuple(
            Happening(
                f"{truth.session_id}/{known + number}",
                kind,
                self._random.choice(STAMPS).get(kind, began_at + number),
                fatal=kind == "stream_error",
            )
            for number, kind in enumerate(kinds[: self._random.randrange(1, 5)])
        )
        receipt = await self._ask(truth, Happenings(truth.session_id, None, None, happenings))
        assert receipt.accepted_count == len(happenings), (truth, receipt)
        truth.events += [(happening.event_id, happening.type) for happening in happenings]
