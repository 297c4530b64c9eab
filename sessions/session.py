"""
One session: who it is, whether it counts, and the reordering window in front of its account.

Theory of operation: `note` puts an input in its place among the last 60 s of inputs (player's time; packed records in `window`). Inputs
that fall out of the window are folded into the account, in order. An input in order, the usual case, costs an append; one out of order
costs a replay of the window. The live state is that of the newest timestamp. `stop` folds everything, at the end and at expiry. Methods
that may fold take `gains`, by stream: what is folded is final, and is counted at once.

Clocks: `created_at`, `seen_at`, `clock_since` are the server's; `newest_at`, `heartbeat_at`, `ending.at` the
player's; `bucket` is in the slot's clock (`tracker.py`). `offset` is between the two (`player_clock.py`).

What is stored of it (`FIELDS`, `Tallies`, `Pixel`, `Ending`) grows as `growing.py` says: at its end, by fields with a default.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from sys import intern
from typing import Any, Final, NamedTuple

from sessions.account import CUE_BITS, NEVER, UNKNOWN_NUMBER, Account, Noted
from sessions.dimensions import OF_PLAYERS
from sessions.gains import Gains
from sessions.growing import fit
from sessions.history import ENTRY, Why, after_streams_went, with_entry, with_ignored, with_intervals
from sessions.limits import (
    EVENT_IDS_MAX,
    REORDER_WINDOW_S,
    STREAMS_PER_WINDOW_MAX,
    WINDOW_INPUTS_MAX,
)
from sessions.meaning import is_blind
from sessions.reporter import Reporter, loaded
from sessions.states import Cue, Liveness, Playback
from sessions.steady import plays_on
from sessions.transitions import AFTER_FRAME, BEATS, BEFORE_FRAME
from sessions.window import (
    INPUT,
    RUN,
    SAYS_ALL,
    inputs_of,
    kept_apart,
    of_stream,
    place_of,
    put,
    said_since,
    time_of,
    watched_anew,
    without,
)

UNKNOWN: Final = "unknown"
"""The value of a dimension that the player has not said (yet)."""
EVENT_ID_BYTES: Final = 7


class Tallies(NamedTuple):
    """What is counted of a session beside its account. Most sessions have none of it, and share one object."""

    duplicates: int = 0
    late: int = 0
    wild: int = 0
    errors: int = 0
    stalls_added: int = 0
    """Stalls of the player's own counter, beyond ours, that were counted when the session finished."""
    outcomes: int = 0
    """1 once the outcome of this viewing was counted, which happens once."""
    failures: int = 0
    """The failure that was counted, as an index of `account.FAILURES`: at most one in a viewing."""
    fails_in: int = 0
    """The bucket (`deadlines.py`) in which its fatal error is counted as a failure; 0: there is none, or it was counted."""


class Pixel(NamedTuple):
    """What only a beacon session has."""

    pullzone: str
    types: tuple[str, ...] = ()
    """Which of view and play were counted; each is, once."""
    visible: bool = True


_NO_TALLIES: Final = Tallies()
_NOTHING_FOLDED: Final = bytearray()
"""Shared by all sessions that have folded nothing: nobody writes into empty bytes."""


class Ending(NamedTuple):
    """What the player said when it ended its session."""

    at: float
    reason: str
    total_watch_s: int | None
    """The player's own total; None: what it sent was impossible."""
    farewell: bytes = b""


class Session:
    """One viewing: its window of recent inputs, its account, and what is known of it. Plain values in slots: a process holds a million."""

    __slots__ = (
        "account", "ahead", "behind", "bucket", "channel_id", "clock_since", "connection_type", "country", "creator_id", "ending", "event_ids", "frame",
        "heartbeat_at", "held_up", "ignored", "interval_s", "intervals", "liveness", "newest_at", "offset", "pixel", "platform", "playback", "player_rebuffers",
        "previous_offset", "profile", "program_id", "program_title", "provisional", "quality", "rebuffer_counter", "reporter", "resume", "revision", "seen_at",
        "session_id",
        "story", "stream_id", "streams", "tallies", "vitals", "window",
    )  # fmt: skip

    def __init__(self, session_id: str, *, now: float) -> None:  # noqa: PLR0915 - a field each
        self.session_id = session_id
        self.liveness: Liveness = Liveness.ACTIVE
        self.provisional = False
        """Its start never arrived (yet)."""
        self.seen_at = now
        """The last sign of life, server's clock."""
        self.bucket = 0
        """Of its next deadline (`deadlines.py`; slot's clock): when it expires or, once it is over, is looked at again, or forgotten. 0: none."""
        self.interval_s = 0
        """The heartbeat interval last promised."""
        self.stream_id = self.channel_id = self.creator_id = self.program_id = UNKNOWN
        self.program_title: str | None = None
        """As the newest program_change named it; the titles of starts and heartbeats are in `profile` and `vitals`."""
        self.platform = self.country = self.quality = self.connection_type = UNKNOWN
        self.pixel: Pixel | None = None
        """Beacon sessions only."""
        self.playback: Playback = Playback.STARTING
        """As of `newest_at`."""
        self.frame = False
        """A first frame was shown, as of `newest_at`."""
        self.offset = NEVER
        self.previous_offset: float | None = None
        """This and `resume` are read by older builds alone, which went back to them after a wild timestamp: they keep their places."""
        self.newest_at = NEVER
        self.heartbeat_at = NEVER
        self.ending: Ending | None = None
        """How it ended; while a new viewing is active, how the one before it ended."""
        self.player_rebuffers = 0
        """Stalls that the player's own counter has counted since the first frame."""
        self.rebuffer_counter = 0
        """What that counter said last; players may set it back to zero."""
        self.tallies = _NO_TALLIES
        self.revision = 0
        """How often it finished."""
        self.window = b""
        self.streams: tuple[str, ...] = ()
        """The streams before the present one. A stream index, in the window or the account, is a place in here; the next place is the present one."""
        self.account = _NOTHING_FOLDED
        """An `Account` at rest; empty until something is folded for the first time."""
        self.event_ids = b""
        """Digests of the last event ids, 7 bytes each, oldest first."""
        self.profile = self.vitals = b""
        self.story = self.intervals = self.ignored = b""
        """These three: see `history.py`."""
        self.behind = b""
        """The late inputs since the last one in order, which may mean that the clock was set back (`player_clock.py`)."""
        self.resume: tuple[float, ...] | None = None
        self.ahead = b""
        """The inputs that are stamped far ahead, until it is known whether the clock was set or they were stray."""
        self.held_up = NEVER
        """When the input was stamped with which a delay ended. Older ones were held up by it, and are in time until something newer is folded."""
        self.clock_since = NEVER
        """When its order was last anchored anew (server's clock)."""
        self.reporter: Reporter | None = None
        """Of a player that reports by itself."""

    @property
    def player(self) -> str | None:
        """Which player reports by itself."""
        return None if self.reporter is None else self.reporter.player or UNKNOWN

    @property
    def blind_player(self) -> str | None:
        """Which player it is, if it plays and does not say how."""
        return self.player if self.reporter is not None and is_blind(self.reporter.tip) else None

    @property
    def created_at(self) -> float:
        """When its first input came, server's clock: the first entry of the story, which is never dropped."""
        at: float = ENTRY.unpack_from(self.story)[0]
        return at

    @property
    def end_reason(self) -> str | None:
        """Why it ended, in the player's words."""
        return None if self.own_ending is None else self.own_ending.reason

    @property
    def pullzone(self) -> str | None:
        """Of a beacon."""
        return None if self.pixel is None else self.pixel.pullzone

    @property
    def own_ending(self) -> Ending | None:
        """What its player said when it ended; None while it is active, though the viewing before it may have ended."""
        return self.ending if self.liveness is Liveness.ENDED else None

    @property
    def is_beacon(self) -> bool:
        """Tell whether it lives on pixels."""
        return self.session_id.startswith("\0")

    def note(  # noqa: PLR0913 - an input is what it is
        self,
        cue: int,
        at: float,
        *,
        gains: Gains,
        cap_s: int,
        bitrate: int = UNKNOWN_NUMBER,
        latency: int = UNKNOWN_NUMBER,
        quality: int = 0,
        stream_id: str | None = None,
        says: int = 0,
        aside: bool = False,
    ) -> bool:
        """
        Put one input at its place by the player's time.

        `cap_s`: the most that the interval which it begins may count. `says`: SAYS_... of what it named, `stream_id` among it.
        False: it is older than the window, and changed nothing.
        """
        record = INPUT.pack(at, cue | says, len(self.streams), cap_s, bitrate, latency, quality)
        if aside:
            self.ahead += record
            self.look_again()
            return True
        if not self.ahead and (at > self.newest_at or (at == self.newest_at and cue != Cue.START)):
            self.newest_at = at
            self.window = window = self.window + record
            after, playback = AFTER_FRAME[cue], self.playback
            if playback is _STARTING and BEFORE_FRAME[cue] is _PLAYING:
                # The first frame. Whatever has precedence over it (a failure, an advertisement) is another state than `starting`.
                self.playback, self.frame = _PLAYING, True
            elif not self.frame or playback not in _STEADY or (after is not None and after is not playback):
                # Else it plays on, or stays paused: the usual case.
                self.look_again()
            if len(window) > INPUT.size:
                self.fold(at - REORDER_WINDOW_S, gains)
            return True
        if at < self.newest_at:
            self.keep_behind(record, stream_id)
        if self._is_late(at, is_start=cue == Cue.START):
            return False
        self._insert(at, record, stream_id, gains, is_start=cue == Cue.START)
        return True

    def _is_late(self, at: float, *, is_start: bool = False) -> bool:
        if not self.account:
            return at < self.newest_at - REORDER_WINDOW_S
        account = Account(self.account)
        folded_until = account.at
        if is_start and at == folded_until and account.running:
            return True  # it belongs before what is folded
        return at < folded_until or (at < self.newest_at - REORDER_WINDOW_S and at >= self.held_up)

    def said_since(self, at: float, *, is_start: bool = False) -> int:
        """Return SAYS_... of all that inputs newer than `at` named; all, if it is too late to know. A start comes before its equals."""
        is_newest = at > self.newest_at or (at == self.newest_at and not is_start)
        if is_newest and not self.ahead:
            return 0
        if not is_newest and self._is_late(at, is_start=is_start):
            return SAYS_ALL
        return said_since(self.window + self.ahead[RUN.size :], at, is_start=is_start)

    def beat_noted(self, at: float) -> Noted | None:
        """Return the last heartbeat with this stamp, as it stands in the window or was kept apart."""
        found = None
        for noted in inputs_of(self.window + self.ahead[RUN.size :]):
            if noted[0] == at and noted[1] & CUE_BITS in BEATS:
                found = noted
        return found

    def newest_beat_ahead(self) -> float:
        """Return the newest stamp of the heartbeats that are kept apart because they are far ahead."""
        return max((noted[0] for noted in inputs_of(self.ahead[RUN.size :]) if noted[1] & CUE_BITS in BEATS), default=NEVER)

    def _insert(self, at: float, record: bytes, stream_id: str | None, gains: Gains, *, is_start: bool) -> None:
        # Who names no stream watches that of its neighbour in time.
        place, stream = place_of(self.window, at, is_start=is_start)
        if stream is None:
            stream = Account(self.account).stream
        named = stream if stream_id is None else self._index_of(stream_id, otherwise=stream)
        self.window = put(self.window, place, record, stream=named, moved=named != stream)
        self.look_again()
        if at < self.newest_at - REORDER_WINDOW_S or len(self.window) > WINDOW_INPUTS_MAX * INPUT.size:
            self.fold(self.newest_at - REORDER_WINDOW_S, gains)

    def _index_of(self, stream_id: str, *, otherwise: int) -> int:
        """Return the index of a stream that was watched on the way, a new one if need be; `otherwise`, if there is no room for it."""
        if stream_id == self.stream_id:
            return len(self.streams)
        if stream_id in self.streams:
            return self.streams.index(stream_id)
        if len(self.streams) + 2 > STREAMS_PER_WINDOW_MAX:
            return otherwise
        self.streams = (*self.streams, self.stream_id, intern(stream_id))
        # The present stream has moved up; what pointed at it still finds its name at the old place.
        return len(self.streams) - 1

    def settled(self) -> Account:
        """Return the account as it would be if nothing more came: what is provisional included."""
        account = Account(self.account)
        for record in inputs_of(self.window):
            account.apply(record)
        if len(self.ahead) > RUN.size:
            records = kept_apart(self.ahead)
            account.break_off(time_of(records[0]), None)
            for record in inputs_of(b"".join(records)):
                account.apply(record)
        return account

    def stream_at(self, at: float, *, is_start: bool = False) -> str:
        """Return the stream that was watched at a time of the player's, as far as its window still knows. A start comes before its equals."""
        if at > self.newest_at or (at == self.newest_at and not is_start) or self._is_late(at, is_start=is_start):
            return self.stream_id
        _, stream = place_of(self.window, at, is_start=is_start)
        return self.name_of(Account(self.account).stream if stream is None else stream)

    def newest_stream(self) -> str:
        """Return the stream of the newest input, as far as it is known to be the newest."""
        if not (self.window or self.account):
            return self.stream_id
        return self.name_of(
            INPUT.unpack_from(self.window, len(self.window) - INPUT.size)[2] if self.window else Account(self.account).stream
        )

    def look_again(self) -> None:
        """Let the live state be that of the newest input, after what is provisional has changed."""
        tip = self.settled()
        self.playback, self.frame = tip.playback, bool(tip.frame)

    def fold(self, until: float, gains: Gains) -> None:
        """Move what is older than `until` (player's time) from the window into the account, and what the window has no room for."""
        window, size = self.window, INPUT.size
        record: Noted = INPUT.unpack_from(window)
        if record[0] >= until and len(window) <= WINDOW_INPUTS_MAX * size:
            return
        if self.account and not self.streams and plays_on(self.account, record, gains[self.stream_id]):
            self.window = window = window[size:]
            if not window:
                return
            record = INPUT.unpack_from(window)
            if record[0] >= until and len(window) <= WINDOW_INPUTS_MAX * size:
                return
        account, done = Account(self.account), 0
        stream = account.stream
        left = entered = gains[self.name_of(stream)]
        while True:
            if record[2] != stream:
                stream = record[2]
                entered = gains[self.name_of(stream)]
            account.apply(record, left, entered)
            left = entered
            done += size
            if done == len(window):
                break
            record = INPUT.unpack_from(window, done)
            if record[0] >= until and len(window) - done <= WINDOW_INPUTS_MAX * size:
                break
        self.window = window[done:]
        self._keep(account)

    def name_of(self, stream: int) -> str:
        """Return the stream that an index in the window or the account means."""
        return self.streams[stream] if stream < len(self.streams) else self.stream_id

    def fold_all(self, gains: Gains) -> Account:
        """Fold what the window has, and return the account."""
        if self.window:
            self.fold(float("inf"), gains)
        return Account(self.account)

    def stop(self, gains: Gains) -> Account:
        """Fold everything, close the last interval at the newest input (the session ended, or expired), and return the account."""
        account = self.fold_all(gains)
        account.silence(gains[self.name_of(account.stream)])
        self._keep(account)
        self.behind = self.ahead = b""
        return account

    def break_off(self, floor: float, gains: Gains) -> None:
        """Fold everything and close the last interval: what follows is stamped by another clock, from `floor` on."""
        account = self.fold_all(gains)
        account.break_off(floor, gains[self.name_of(account.stream)])
        self._keep(account)

    def keep_behind(self, record: bytes, stream_id: str | None) -> None:
        """Keep an input (packed) that lies behind, in case it turns out that the clock was set back (`player_clock.py`)."""
        if self.behind and len(self.behind) < WINDOW_INPUTS_MAX * INPUT.size:
            present = len(self.streams)
            self.behind += of_stream(record, present if stream_id is None else self._index_of(stream_id, otherwise=present))

    def take_out(self, records: Iterable[bytes]) -> None:
        """Take inputs (packed) out of the window again; those that are not in it are ignored."""
        before = self.window
        for record in records:
            self.window = without(self.window, record)
        if self.window != before:
            self.window = watched_anew(self.window, Account(self.account).stream)

    def replay(self, records: Iterable[bytes], gains: Gains) -> None:
        """Put inputs (packed, in order) into the empty window of a session whose order begins anew; who names no stream goes on with the present one."""
        self.window = watched_anew(b"".join(records), len(self.streams))
        for at, cue, *_ in inputs_of(self.window):
            self.newest_at = at
            if cue & CUE_BITS in BEATS:
                self.heartbeat_at = at
        self.look_again()
        if self.window:
            self.fold(self.newest_at - REORDER_WINDOW_S, gains)

    def _keep(self, account: Account) -> None:
        if account.begun:
            self.intervals = with_intervals(self.intervals, account.begun)
        self.account = account.pack()

    def watch(self, stream_id: str, gains: Gains) -> None:
        """Let what follows count for another stream; time stays where it was spent."""
        if self.stream_id != UNKNOWN and (self.window or self.account):
            # Else what was watched so far had no name, and this is it.
            if len(self.streams) >= STREAMS_PER_WINDOW_MAX:
                account = self.fold_all(gains)
                self.streams = ((*self.streams, self.stream_id)[account.stream],)
                self.intervals = after_streams_went(self.intervals, kept=account.stream)
                account.stream = 0
                self.account = account.pack()
            self.streams = (*self.streams, self.stream_id)
        self.stream_id = stream_id

    def knows_event(self, digest: bytes) -> bool:
        """Tell whether an event id (by its digest) was seen among the last 1,024."""
        place = self.event_ids.find(digest)
        while place != -1 and place % EVENT_ID_BYTES:
            place = self.event_ids.find(digest, place + 1)
        return place != -1

    def remember_event(self, digest: bytes) -> None:
        """Keep an event id's digest; the oldest goes when there are too many."""
        self.event_ids = (self.event_ids + digest)[-EVENT_IDS_MAX * EVENT_ID_BYTES :]

    def follow_counter(self, reading: int) -> None:
        """Take what the player's own counter of stalls says; what it counted before the first frame was no stall."""
        if self.frame:
            self.player_rebuffers += reading - self.rebuffer_counter if reading > self.rebuffer_counter else reading
        self.rebuffer_counter = reading

    def tally(self, **more: int) -> None:
        """Add to what is counted apart from the account, by the names of `Tallies`."""
        self.tallies = self.tallies._replace(**{name: getattr(self.tallies, name) + count for name, count in more.items()})

    def tell(self, what: int, *, now: float, detail: int = 0) -> None:
        """Add an entry to the story; the oldest but the first goes when there are too many."""
        self.story = with_entry(self.story, now, what, detail)

    def ignore(self, what: str, why: Why, *, at: float, now: float) -> None:
        """Remember that an input (`history.INPUTS`, stamped `at`) was ignored."""
        self.ignored = with_ignored(self.ignored, now=now, at=at, what=what, why=why)

    def story_entries(self) -> list[tuple[float, int, int]]:
        """Return (server's time, what, detail) of each entry, oldest first."""
        return list(ENTRY.iter_unpack(self.story))

    def window_inputs(self) -> list[Noted]:
        """Return the provisional inputs in order."""
        return list(inputs_of(self.window))

    def dump(self) -> tuple[object, ...]:
        """Return plain values in a fixed order, for a codec; `load` takes them back. They hold until the next input."""
        return _FIELDS_OF(self)

    @classmethod
    def load(cls, values: Sequence[Any]) -> "Session":
        """Rebuild a session from what `dump` gave; missing trailing values keep their defaults, extra ones are ignored."""
        session = cls.__new__(cls)
        if len(values) < len(FIELDS):
            session.__init__(values[0], now=0.0)  # type: ignore[misc]  # an older build's: what it lacks keeps its default
        # A hundred thousand of these are what a restarted shard's players wait for.
        for (set_in, is_shared), value in zip(_SETTERS, values, strict=False):
            set_in(session, intern(value) if is_shared else value)
        session.liveness = _LIVENESSES[session.liveness]
        session.playback = _PLAYBACKS[session.playback]
        session.streams = tuple(session.streams)
        session.account = bytearray(session.account) if session.account else _NOTHING_FOLDED
        before_outcomes = len(session.tallies) <= Tallies._fields.index("outcomes")
        session.tallies = fit(Tallies, session.tallies) if any(session.tallies) else _NO_TALLIES
        if before_outcomes and (session.revision or session.account):
            # That build counted outcomes at the first finish, and a failure as it was folded.
            session.tally(outcomes=min(session.revision, 1), failures=Account(session.account).failure)
        if session.pixel is not None:
            pixel = fit(Pixel, session.pixel)
            session.pixel = pixel._replace(types=tuple(pixel.types))
        session.ending = None if session.ending is None else fit(Ending, session.ending)
        if session.reporter is not None:
            session.reporter = loaded(session.reporter)
        return session


FIELDS: Final = (
    "session_id", "liveness", "provisional", "seen_at", "bucket", "interval_s", "stream_id", "channel_id",
    "creator_id", "program_id", "platform", "country", "quality", "connection_type", "pixel", "playback", "frame",
    "offset", "previous_offset", "newest_at", "heartbeat_at", "ending",
    "player_rebuffers", "tallies", "revision", "window", "streams", "account", "event_ids", "profile", "vitals", "story", "program_title", "intervals",
    "ignored", "rebuffer_counter", "behind", "resume", "clock_since", "held_up",
    "reporter", "ahead",
)  # fmt: skip
"""What is stored of a session, in this order for ever: new ones are added at the end."""
_FIELDS_OF: Final = attrgetter(*FIELDS)
_SETTERS: Final = tuple((getattr(Session, name).__set__, name in OF_PLAYERS) for name in FIELDS)
_STARTING: Final = Playback.STARTING
_PLAYING: Final = Playback.PLAYING
_STEADY: Final = (_PLAYING, Playback.PAUSED)
"""States that time alone does not end."""
_LIVENESSES: Final = {str(liveness): liveness for liveness in Liveness}
_PLAYBACKS: Final = {str(playback): playback for playback in Playback}
