"""
One session's account: how long in which state, and what was counted on the way.

Theory of operation: inputs are *folded* into the account when they leave the reordering window (`session.py`), sorted by the player's
own time. The time between two inputs belongs to the state that the first of them set, and to the stream that was watched then. It is
clipped to [0, cap]; the cap is the heartbeat interval that was promised at the first input, times the expiry intervals. The sums hold
folded time only. Inputs that are still in the window are provisional: whoever wants them included adds them to a copy
(`Session.settled`). What an input adds is final once it is folded, so it is then, and only then, added to its stream's `Gain` as well,
from which the counters are fed.

It knows neither the server's clock nor liveness.
"""

from operator import attrgetter
from struct import Struct
from typing import Final

from sessions.gains import Gain
from sessions.history import BY_SEEK, SILENCE, Interval, code_of
from sessions.limits import AD_BREAK_S_MAX, SEEK_CAUSES_STALL_S, SEEK_FOLLOWS_STALL_S, STALLED_AFTER_S
from sessions.states import PLAYBACKS, Cue, Playback
from sessions.transitions import AFTER_FRAME, BEFORE_FRAME, PLAYS, RESUMES

UNKNOWN_NUMBER: Final = 0xFFFF_FFFF
"""Stands for a bitrate or a latency that the player did not report."""
NOT_LIVE: Final = 0xFFFF_FFFE
"""Stands for the latency of a player whose viewer chose to watch behind the live edge: what it reported before holds no longer."""

FAILURES: Final = (None, "start", "playback")
"""A fatal error that nothing playing has followed, or an end for an error: before the first frame (VSF), or after it (VPF)."""
NEVER: Final = float("-inf")
ANOTHER_CLOCK: Final = float("inf")
"""Instead of `started_at`: the player's clock was set between start and first frame, so the startup time is unknown."""

CUE_BITS: Final = 0b0001_1111
"""The part of an input's second number that is its cue; the bits above say which dimensions it named (`window.SAYS_STREAM` ...)."""

Noted = tuple[float, int, int, int, int, int, int]
"""One input as it stands in the window: player's time, cue, stream index, cap in s, bitrate, latency, quality's fingerprint."""

_LAYOUT: Final = {
    "d": "at seek_at started_at first_frame_at starting_s playing_s rebuffering_s seek_rebuffering_s paused_s bits bitrate_s latency_us_s latency_s",
    "I": "bitrate latency quality rebuffers seek_rebuffers switches",
    "H": "cap_s",
    "B": "stream state frame running by_seek failure",
}
_LAYOUT_SINCE: Final = {"d": "entered_at ad_s", "B": "before_stall before_ad ad_break cause_open"}
"""Numbers that were added later, packed behind those in the same way."""
FIELDS: Final = tuple((name, kind) for layout in (_LAYOUT, _LAYOUT_SINCE) for kind, names in layout.items() for name in names.split())
"""Every number of an account at rest and how it is packed, little-endian and without gaps."""
_PACKED: Final = Struct("<" + "".join(kind for _, kind in FIELDS))
"""An account at rest, as bytes: a process holds a million, and only the one in use is an object. New numbers go to the end."""


class Account:
    """
    The folded past of one session.

    `apply` is the only mutator; inputs must come in the order of the player's time.
    """

    __slots__ = (  # noqa: RUF023 - the order of `FIELDS`; `begun` is not packed
        "at", "seek_at", "started_at", "first_frame_at", "starting_s", "playing_s", "rebuffering_s", "seek_rebuffering_s", "paused_s", "bits", "bitrate_s",
        "latency_us_s", "latency_s", "bitrate", "latency", "quality", "rebuffers", "seek_rebuffers", "switches", "cap_s",
        "stream", "state", "frame", "running", "by_seek", "failure",
        "entered_at", "ad_s", "before_stall", "before_ad", "ad_break", "cause_open", "begun",
    )  # fmt: skip

    def __init__(self, packed: bytes | bytearray = b"") -> None:
        """Unpack what `pack` returned; empty bytes make a new account."""
        # `started_at`: when the start was stamped. `first_frame_at`: when stream_start was, less the advertisements before it; a heartbeat
        # comes too late to say. `entered_at`: when the present state began. `before_stall`, `before_ad`: the states to return to.
        # `cause_open`: the present stall is not counted yet, as a seek may still turn out to have caused it. The order is that of `FIELDS`.
        (
            self.at,
            self.seek_at,
            self.started_at,
            self.first_frame_at,
            self.starting_s,
            self.playing_s,
            self.rebuffering_s,
            self.seek_rebuffering_s,
            self.paused_s,
            self.bits,
            self.bitrate_s,
            self.latency_us_s,
            self.latency_s,
            self.bitrate,
            self.latency,
            self.quality,
            self.rebuffers,
            self.seek_rebuffers,
            self.switches,
            self.cap_s,
            self.stream,
            self.state,
            self.frame,
            self.running,
            self.by_seek,
            self.failure,
            self.entered_at,
            self.ad_s,
            self.before_stall,
            self.before_ad,
            self.ad_break,
            self.cause_open,
        ) = _PACKED.unpack_from(packed if len(packed) >= _PACKED.size else packed + _NEW[len(packed) :])
        self.begun: tuple[Interval, ...] = ()
        """The intervals that began since it was opened: another state, another stream, or a first sign of life."""

    def pack(self) -> bytearray:
        """Return the account at rest: fixed size, little-endian; a later build may append to it. `plays_on` writes into it."""
        return bytearray(_PACKED.pack(*_VALUES_OF(self)))

    def apply(self, noted: Noted, left: Gain | None = None, entered: Gain | None = None) -> None:
        """
        Close the open interval at an input's time, then let its cue set the state of the next one.

        `left` is the gain of the stream that was watched until now: the time goes to it. `entered` is that of the input's own stream:
        what the input begins goes to it. None: nothing is counted, somebody only wants to know.
        """
        at, cue, stream, cap_s, bitrate, latency, quality = noted
        cue &= CUE_BITS
        goes_on = self.running and stream == self.stream
        if self.running:
            goes_on = self._pass(at, cue, left) and goes_on
        else:
            self.entered_at = at
        self.at = at
        self.running = True
        self.cap_s = cap_s
        if self.cause_open and stream != self.stream:
            # The stall began on the stream that is left, and is counted there.
            self._count_stall(left)
        self.stream = stream
        if bitrate != UNKNOWN_NUMBER:
            self.bitrate = bitrate
        if latency == NOT_LIVE:
            self.latency = UNKNOWN_NUMBER
        elif latency != UNKNOWN_NUMBER:
            self.latency = latency
        if quality and quality != self.quality:
            self._switch(quality, entered)
        if cue == _MOVED:
            self._move()
        had_frame = self.frame
        state = self._state_after(cue)
        if state != self.state:
            self._enter(state, left, entered)
            goes_on = False
        if cue == Cue.DVR_SEEK:
            goes_on = self._seek(at, left) and goes_on
        elif not had_frame and cue in _MARKS:
            self._mark(cue, at, entered)
        if not goes_on:
            self.begun += ((at, self.counted_s, stream, code_of(self.state) | BY_SEEK * (self.by_seek and self.state == _REBUFFERING)),)

    def _move(self) -> None:
        """Let a startup of its own begin: what is asked for from now on was never seen, and nothing of it failed."""
        self.frame, self.failure, self.ad_break = 0, 0, 0
        self.started_at = self.first_frame_at = self.seek_at = NEVER
        if self.state == _FAILED:
            self.state = _SHOWN

    def _pass(self, at: float, cue: int, gain: Gain | None) -> bool:
        """Count the time until `at` for the state that the last input set; False: it waited too long, and that state is `stalled` now."""
        elapsed = at - self.at
        if elapsed > self.cap_s:  # noqa: PLR1730 - a call of min() costs more than all the rest
            elapsed = self.cap_s
        if self.state not in (_REBUFFERING, _STARTING):
            if elapsed > 0.0:
                self._spend(elapsed, gain)
            return True
        stalled_at = (self.at if self.entered_at == NEVER else self.entered_at) + STALLED_AFTER_S
        # A player that starts may be silent for as long as it likes. It has stalled only once it says itself that it waits, or does not play.
        waits_no_more = at > stalled_at and (self.state == _REBUFFERING or cue in _WAITS or cue == Cue.BEAT_IDLE)
        if waits_no_more:
            elapsed = min(elapsed, max(stalled_at - self.at, 0.0))
        if elapsed > 0.0:
            self._spend(elapsed, gain)
        if self.cause_open and at - self.entered_at > SEEK_FOLLOWS_STALL_S:
            self._count_stall(gain)
        if waits_no_more:
            self.state, self.entered_at, self.by_seek = _STALLED, stalled_at, False
            self.begun += ((stalled_at, self.counted_s, self.stream, code_of(_STALLED)),)
        return not waits_no_more

    def _state_after(self, cue: int) -> int:
        """Return the state that a cue leads to: the one in the tables, unless a failure, an advertisement or a stall has precedence."""
        state: int = self.state
        after = (AFTER_FRAME if self.frame else BEFORE_FRAME)[cue]
        if after is None or (state == _FAILED and cue not in PLAYS):
            return state
        if cue in _AD_CUES:
            return self._state_after_ad(cue)
        if self.ad_break and cue != Cue.STREAM_START and after is not Playback.FAILED and self.at - self.entered_at <= AD_BREAK_S_MAX:
            # Whatever the content does meanwhile, the viewer sees the advertisement.
            if after is RESUMES:
                self.before_ad = self._resumed(self.before_ad)
            return state
        self.ad_break = 0
        if after is RESUMES:
            return self._resumed(self.before_ad if state == _AD else state)
        return state if state == _STALLED and cue in _WAITS else _STATE_OF[after]

    def _state_after_ad(self, cue: int) -> int:
        """Return the state that an advertisement or a break leads to: at its end, what it was before."""
        if cue in _AD_BEGINS:
            if not self.ad_break:
                self.before_ad = self.state
            self.entered_at = self.at
            self.ad_break = _BREAK if cue == Cue.AD_BREAK_START else self.ad_break or _ONE_AD
            return _AD
        if not self.ad_break or (cue == Cue.AD_END and self.ad_break == _BREAK):
            return int(self.state)
        self.ad_break = 0
        return int(self.before_ad)

    def _resumed(self, state: int) -> int:
        if state in (_REBUFFERING, _STALLED):
            return int(self.before_stall) if self.frame else _STARTING
        return _PLAYING if state == _FAILED and self.frame else state

    def _seek(self, at: float, gain: Gain | None) -> bool:
        """Take a seek. False: it caused the present stall, which began just before it; True: it may cause one that follows."""
        if not self.cause_open or self.state != _REBUFFERING:
            self.seek_at = at
            return True
        before_s = at - self.entered_at
        self.by_seek = True
        self.seek_rebuffers += 1
        self.seek_rebuffering_s += before_s
        if gain is not None:
            gain.seek_rebuffering_s += before_s
            gain.seek_stalls += 1
        self._count_stall(gain)
        return False

    def _count_stall(self, gain: Gain | None) -> None:
        """Count the present stall, whose cause is known now."""
        self.cause_open = False
        if gain is not None:
            gain.stalls += 1
            gain.happened = True

    def _switch(self, quality: int, gain: Gain | None) -> None:
        if self.quality:
            self.switches += 1
            if gain is not None:
                gain.switches += 1
                gain.happened = True
        self.quality = quality

    def _mark(self, cue: int, at: float, gain: Gain | None) -> None:
        """Note when playback was asked for, or when the first frame came. Called only as long as no frame was shown."""
        if cue == Cue.START:
            if self.started_at == NEVER:
                # Less the advertisements so far, as of the first frame: what is between the two is what counts.
                self.started_at = at - self.ad_s
        else:
            self.first_frame_at = at - self.ad_s
        self._tell_startup(gain)

    def _tell_startup(self, gain: Gain | None) -> None:
        # Each of the two is set once, so the second of them comes once.
        if gain is not None and NEVER not in (self.started_at, self.first_frame_at):
            gain.startups += ((self.started_at, self.first_frame_at),)
            gain.happened = True

    def _spend(self, elapsed: float, gain: Gain | None) -> None:
        state = self.state
        if state == _PLAYING:
            self.playing_s += elapsed
            if gain is not None:
                gain.playing_s += elapsed
            if self.bitrate != UNKNOWN_NUMBER:
                bits = self.bitrate * elapsed
                self.bits += bits
                self.bitrate_s += elapsed
                if gain is not None:
                    gain.bits += bits
                    gain.bitrate_s += elapsed
            if self.latency != UNKNOWN_NUMBER:
                self.latency_us_s += self.latency * elapsed
                self.latency_s += elapsed
        elif state == _PAUSED:
            self.paused_s += elapsed
            if gain is not None:
                gain.paused_s += elapsed
        elif state == _REBUFFERING:
            self._stall(elapsed, gain)
        elif state == _STARTING:
            self.starting_s += elapsed
        elif state == _AD:
            self.ad_s += elapsed
            if gain is not None:
                gain.ad_s += elapsed

    def _stall(self, elapsed: float, gain: Gain | None) -> None:
        by_seek_s = elapsed if self.by_seek else 0.0
        self.rebuffering_s += elapsed
        self.seek_rebuffering_s += by_seek_s
        if gain is not None:
            gain.rebuffering_s += elapsed
            gain.seek_rebuffering_s += by_seek_s

    def _enter(self, state: int, left: Gain | None, entered: Gain | None) -> None:
        if self.cause_open:
            self._count_stall(left)
        before, self.state, self.entered_at = self.state, state, self.at
        # A stall that a break interrupts goes on after it, with its cause.
        self.by_seek = bool(self.by_seek and (state == _AD or (before == _AD and state == _REBUFFERING)))
        if state == _PLAYING:
            if entered is not None and not self.frame:
                entered.plays += 1
                entered.happened = True
            self.frame = True
            self.failure = 0
        elif state == _FAILED:
            self.failure = 2 if self.frame else 1
        elif state == _REBUFFERING and before != _AD:
            # After a break it is the old stall that goes on.
            self.before_stall = _PAUSED if before == _PAUSED else _PLAYING
            self._stall_begins(entered)

    def _stall_begins(self, gain: Gain | None) -> None:
        self.rebuffers += 1
        self.cause_open = True
        if self.at - self.seek_at <= SEEK_CAUSES_STALL_S:
            self.by_seek = True
            self.seek_rebuffers += 1
            self.seek_at = NEVER
            if gain is not None:
                gain.seek_stalls += 1
            self._count_stall(gain)

    def silence(self, gain: Gain | None = None) -> None:
        """Close the open interval at the last input; the time until the next counts for nothing. `gain` is of the stream that is watched."""
        if self.cause_open:
            self._count_stall(gain)
        if self.running:
            self.running = False
            self.begun += ((self.at, self.counted_s, self.stream, SILENCE),)

    def break_off(self, floor: float, gain: Gain | None) -> None:
        """Close the interval, as the player's clock was set: nothing is measured across this point, and inputs before `floor` are too late."""
        self.silence(gain)
        self.at = floor
        self.seek_at = NEVER
        if self.started_at != NEVER and self.first_frame_at == NEVER:
            self.started_at = ANOTHER_CLOCK

    @property
    def counted_s(self) -> float:
        """All seconds that count for something."""
        counted: float = self.starting_s + self.playing_s + self.rebuffering_s + self.paused_s + self.ad_s
        return counted

    @property
    def playback(self) -> Playback:
        """The state that the last input set."""
        playback: Playback = PLAYBACKS[self.state]
        return playback


_VALUES_OF: Final = attrgetter(*(name for name, _ in FIELDS))
_MARKS: Final = frozenset({Cue.START, Cue.STREAM_START})
_WAITS: Final = frozenset({Cue.BEAT_REBUFFERING, Cue.BUFFER_START, Cue.RECONNECT})
"""Cues that say that it waits for data."""
_AD_BEGINS: Final = frozenset({Cue.AD_BREAK_START, Cue.AD_START})
_AD_CUES: Final = _AD_BEGINS | {Cue.AD_BREAK_END, Cue.AD_END}
_ONE_AD: Final = 1
"""Of `ad_break`: an advertisement of which no break was told; its own end ends it."""
_BREAK: Final = 2
_STATE_OF: Final[dict[Playback | str, int]] = {playback: state for state, playback in enumerate(PLAYBACKS)}
_SHOWN: Final = _STATE_OF[Playback.SHOWN]
_STARTING: Final = _STATE_OF[Playback.STARTING]
_PLAYING: Final = _STATE_OF[Playback.PLAYING]
_REBUFFERING: Final = _STATE_OF[Playback.REBUFFERING]
_PAUSED: Final = _STATE_OF[Playback.PAUSED]
_FAILED: Final = _STATE_OF[Playback.FAILED]
_STALLED: Final = _STATE_OF[Playback.STALLED]
_AD: Final = _STATE_OF[Playback.AD]
_MOVED: Final = int(Cue.MOVED)
_FIRST: Final = {
    "at": NEVER, "seek_at": NEVER, "started_at": NEVER, "first_frame_at": NEVER, "entered_at": NEVER, "bitrate": UNKNOWN_NUMBER, "latency": UNKNOWN_NUMBER,
    "state": _STARTING, "before_stall": _PLAYING, "before_ad": _PLAYING,
}  # fmt: skip
_NEW: Final = _PACKED.pack(*(_FIRST.get(name, 0) for name, _ in FIELDS))
