"""
The tracker beside a naive model (`naive_slot.py`), through disorder, wrong clocks, outages and crashes.

Times are whole seconds, so that a deadline's quarter of a second decides nothing. A failure prints its steps; the run is
derandomised, so that it comes back.
"""

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sessions.changes import Ledger, Receipt
from sessions.deadlines import due_at_of
from sessions.events import Beacon, End, Event, Happening, Happenings, Heartbeat, Start, beacon_id
from sessions.tracker import Tracker
from storage.codec import decode_session, encode_session
from tests.unit.naive_slot import POLICY, NaiveSlot

BEGIN: Final = 1_700_000_000.0
SESSIONS: Final = ("a", "b", "c")
SKEWS: Final = {"a": 0.0, "b": -3_600.0, "c": 600.0}
"""How far each player's clock is from ours."""
YEAR_9999: Final = 253_402_300_799.0
STREAMS: Final = (None, "x", "y")
VIEWERS: Final = tuple(beacon_id(pullzone="z", video_id="x", user_id=user) for user in "uv")

KINDS: Final = ("stream_start", "stream_buffer_start", "stream_buffer_end", "stream_reconnect", "dvr_seek", "dvr_resume_live", "mute")


@dataclass
class Stored:
    """What a journal holds of the slot."""

    sessions: dict[str, bytes] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    paused_s: float = 0.0
    added: Counter[str] = field(default_factory=Counter)


COUNTED: Final = {
    "heartbeats": "heartbeats",
    "duplicates": "duplicates",
    "late_events": "late",
    "wild_timestamps": "wild",
    "events": "events",
    "beacons": "beacons",
}

ages = st.one_of(st.integers(0, 20), st.integers(21, 100), st.just(-55), st.just(-61), st.just(-5_000))
"""How old a timestamp is when it reaches us; negative: ahead of the player's own clock."""
names = st.sampled_from(SESSIONS)
promises = st.sampled_from((30, 30, 30, 120))


class Beside(RuleBasedStateMachine):
    """Both at once, through crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN
        self.tracker = Tracker(3, policy=POLICY)
        self.slot = NaiveSlot()
        self.stored = Stored()
        self.committed = deepcopy(self.slot)
        self.sent: list[tuple[Event, int]] = []
        self.ids = 0

    def both(self, event: Event, interval_s: int) -> None:
        note(f"now={self.now - BEGIN:+} {event} promised {interval_s}")
        receipt = self.tracker.receive(event, now=self.now, interval_s=interval_s)
        accepted, taken, rejected = self.slot.receive(event, interval_s, now=self.now)
        self.sent.append((event, interval_s))
        assert (receipt.accepted, receipt.accepted_count, len(receipt.rejected)) == (accepted, taken, rejected)
        self.check_words(event, receipt, interval_s)

    def check_words(self, event: Event, receipt: Receipt, interval_s: int) -> None:
        viewing = self.slot.viewings.get(event.session_id)
        if not receipt.accepted:
            assert receipt.reason == "session_ended"
        if viewing is None:
            return
        if viewing.liveness == "ended":
            assert receipt.total_watch_s == viewing.total_watch_s
        elif viewing.liveness == "active":
            assert receipt.interval_s == (viewing.promised_s if isinstance(event, Happenings) else interval_s)

    def at(self, name: str, age: float) -> float:
        return self.now + SKEWS[name] - age

    @rule(name=names, age=ages, stream=st.sampled_from(STREAMS[1:]), interval_s=promises)
    def start(self, name: str, age: float, stream: str, interval_s: int) -> None:
        self.both(Start(name, self.at(name, age), stream, "ch", "cr", "pr", "web", "US", "wifi", "auto"), interval_s)

    @rule(
        name=names,
        age=ages,
        playback=st.sampled_from((None, "playing", "playing", "rebuffering", "paused")),
        stream=st.sampled_from(STREAMS),
        stalls=st.sampled_from((None, 2)),
        interval_s=promises,
    )
    def beat(self, name: str, age: float, playback: str | None, stream: str | None, stalls: int | None, interval_s: int) -> None:
        self.both(Heartbeat(name, self.at(name, age), playback, stream, rebuffer_count=stalls), interval_s)

    @rule(
        name=names,
        kinds=st.lists(st.tuples(st.sampled_from(KINDS), ages), max_size=4),
        fatal=st.sampled_from((False, False, True)),
        stream=st.sampled_from(STREAMS),
    )
    def happen(self, name: str, kinds: list[tuple[str, float]], fatal: bool, stream: str | None) -> None:
        happenings = []
        for kind, age in kinds:
            self.ids += 1
            happenings.append(Happening(f"e{self.ids}", kind, self.at(name, age)))
        if fatal:
            self.ids += 1
            happenings.append(Happening(f"e{self.ids}", "stream_error", self.at(name, 0), fatal=True))
        self.both(Happenings(name, stream, None, tuple(happenings)), 30)

    @rule(name=names, wild=st.sampled_from((YEAR_9999, 10_000_000_000.0, 0.0)))
    def blip(self, name: str, wild: float) -> None:
        self.ids += 1
        self.both(Happenings(name, None, None, (Happening(f"e{self.ids}", "mute", wild),)), 30)

    @rule(name=names, age=ages, reason=st.sampled_from(("user_exit", "error", "timeout")), total=st.integers(0, 9_000))
    def end(self, name: str, age: float, reason: str, total: int) -> None:
        self.both(End(name, self.at(name, age), reason, total, 0, 0), 30)

    @rule(viewer=st.sampled_from(VIEWERS), kind=st.sampled_from(("view", "play", "check")))
    def pixel(self, viewer: str, kind: str) -> None:
        self.both(Beacon(viewer, kind, "x", "z"), 30)

    @rule(ago=st.integers(1, 6))
    def send_again(self, ago: int) -> None:
        if ago <= len(self.sent):
            self.both(*self.sent[-ago])

    @rule(seconds=st.one_of(st.integers(1, 40), st.integers(41, 400)))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(seconds=st.integers(1, 400), limit=st.integers(1, 3))
    def time_passes(self, seconds: int, limit: int) -> None:
        self.now += seconds
        # What is noticed late is only then over: forgetting needs a later tick.
        while done := self.tracker.advance(now=self.now, limit=limit):
            assert done <= limit
        self.slot.advance(now=self.now)
        due_at = self.tracker.next_deadline()
        assert due_at is None or due_at > self.now

    @rule(seconds=st.integers(1, 500))
    def we_are_away(self, seconds: int) -> None:
        self.now += seconds
        self.tracker.pause(seconds)
        self.slot.paused_s += seconds

    @rule()
    def commit(self) -> None:
        changes = self.tracker.take_changes()
        for session in changes.sessions:
            self.stored.sessions[session.session_id] = encode_session(session)
        for name in changes.forgotten:
            self.stored.sessions.pop(name, None)
        self.stored.ledger, self.stored.paused_s = changes.ledger, changes.paused_s
        for key, amount in changes.increments.items():
            if key[0] in COUNTED:
                self.stored.added[COUNTED[key[0]]] += int(amount)
        self.committed = deepcopy(self.slot)
        assert +self.stored.added == +self.committed.added

    @rule()
    def crash(self) -> None:
        self.slot = deepcopy(self.committed)
        self.tracker = Tracker.restore(
            3,
            policy=POLICY,
            sessions=[decode_session(stored) for stored in self.stored.sessions.values()],
            ledger=self.stored.ledger,
            paused_s=self.stored.paused_s,
        )

    @rule()
    def journal_is_wiped(self) -> None:
        changes = self.tracker.all_changes()
        assert {session.session_id for session in changes.sessions} == self.slot.viewings.keys()
        self.stored.sessions = {session.session_id: encode_session(session) for session in changes.sessions}
        self.stored.ledger, self.stored.paused_s = changes.ledger, changes.paused_s
        for key, amount in changes.increments.items():
            if key[0] in COUNTED:
                self.stored.added[COUNTED[key[0]]] += int(amount)
        self.committed = deepcopy(self.slot)

    @invariant()
    def they_agree(self) -> None:
        self.tracker.validate()
        assert self.tracker.sessions.keys() == self.slot.viewings.keys()
        audience: Counter[tuple[str, ...]] = Counter()
        for name, viewing in self.slot.viewings.items():
            session = self.tracker.sessions[name]
            account = session.settled()
            spent, playback, stream = viewing.replay()
            state, stalls = playback.state, playback.stalls
            ours = {
                "starting": account.starting_s,
                "playing": account.playing_s,
                "rebuffering": account.rebuffering_s,
                "paused": account.paused_s,
                "ad": account.ad_s,
            }
            assert (str(session.liveness), session.provisional) == (viewing.liveness, viewing.provisional)
            assert (str(session.playback), session.stream_id, account.rebuffers) == (state, stream, stalls), name
            assert ours == {each: spent.get(each, 0.0) for each in ours}, name
            assert session.player_rebuffers == viewing.stalls_told
            assert due_at_of(session.bucket) == viewing.due_at + 0.25, name
            if viewing.liveness == "active":
                audience["state", state] += 1
                audience["stream", stream, state] += 1
        shown = {key: count for key, count in self.tracker.audience.items() if key[0] in ("state", "stream")}
        assert shown == audience
        due_ats = [viewing.due_at + 0.25 + self.slot.paused_s for viewing in self.slot.viewings.values()]
        due_ats += [
            due_at_of(each.tallies.fails_in) + self.slot.paused_s for each in self.tracker.sessions.values() if each.tallies.fails_in
        ]
        assert self.tracker.next_deadline() == min(due_ats, default=None)
        ledger, counts = self.tracker.ledger, self.slot.counts
        assert ledger.active == sum(viewing.liveness == "active" for viewing in self.slot.viewings.values())
        assert ledger.active == counts["started"] + counts["provisional"] + counts["revived"] - counts["ended"] - counts["expired"]
        assert (ledger.started, ledger.provisional, ledger.promoted) == (counts["started"], counts["provisional"], counts["promoted"])
        assert (ledger.revived, ledger.expired, sum(ledger.ended.values())) == (counts["revived"], counts["expired"], counts["ended"])


Beside.TestCase.settings = settings(max_examples=120, stateful_step_count=50, report_multiple_bugs=False)
TestBeside = Beside.TestCase
