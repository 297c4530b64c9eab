"""
One session's account: how long in which state, and what was counted on the way.

Theory of operation: inputs reach the account sorted by the player's own time, once they leave the reordering window
(`session.py`). The time between two inputs belongs to the state that the first one set, is clipped to [0, cap], the cap being the
promise (interval times expiry intervals) that held when it began, and counts for the stream that was watched. Sums are of folded time only; what is
still in the window is provisional and is added on a copy by whoever asks. What a folded input added is told to its stream's `Gain`
as well: that is the only time that it is final, and so the only time that it is counted.

It knows neither the server's clock nor liveness.
"""

from collections import defaultdict
from operator import attrgetter
from struct import Struct
from typing import Final

from sessions.diary import BY_SEEK, SILENCE, Interval
from sessions.limits import SEEK_CAUSES_STALL_S
from sessions.states import PLAYBACKS, Cue, Playback
from sessions.transitions import AFTER_FRAME, BEFORE_FRAME

UNKNOWN_NUMBER: Final = 0xFFFF_FFFF
"""Of a bitrate or a latency: the player did not say."""

FAILURES: Final = (None, "start", "playback")
"""A fatal error, or an end for an error: before the first frame (VSF), or after it (VPF)."""
NEVER: Final = float("-inf")

CUE_BITS: Final = 0b0001_1111
"""Of a cue as it stands in the window; the bits above say what else the input said (`session.SAYS_STREAM` ...)."""

Noted = tuple[float, int, int, int, int, int, int]
"""One input as it stands in the window: player's time, cue, stream index, cap in s, bitrate, latency, quality's fingerprint."""

_PACKED: Final = Struct("<13d6IH6B")
"""An account at rest: a million sessions hold one each, and only the one that is spoken of needs to be an object. It grows at its end."""


class Gain:
    """
    What the folding of inputs added to one stream's counters, over all sessions.

    Attributes of the class stand for nothing: most streams gain time and nothing else, and one is made per stream and commit.
    """

    playing_s = 0.0
    rebuffering_s = 0.0
    seek_rebuffering_s = 0.0
    paused_s = 0.0
    bits = 0.0
    bitrate_s = 0.0
    stalls = 0
    seek_stalls = 0
    """Those that a seek caused among them."""
    switches = 0
    plays = 0
    start_failures = 0
    playback_failures = 0
    startups: tuple[tuple[float, float], ...] = ()
    """(started_at, first_frame_at) of each session of which both became known."""
    happened = False
    """Something beside time: it is rare, and so asked for first."""


class Gains(defaultdict[str, Gain]):
    """By stream; one that was not there begins at nothing."""

    def __init__(self) -> None:
        super().__init__(Gain)


class Account:
    """
    The folded past of one session.

    `apply` is the only mutator; inputs must come in the order of the player's time.
    """

    __slots__ = (  # noqa: RUF023 - the order of `_PACKED`; `begun` is not packed
        "at", "seek_at", "started_at", "first_frame_at", "starting_s", "playing_s", "rebuffering_s", "seek_rebuffering_s", "paused_s", "bits", "bitrate_s",
        "latency_us_s", "latency_s", "bitrate", "latency", "quality", "rebuffers", "seek_rebuffers", "switches", "cap_s",
        "stream", "state", "frame", "running", "by_seek", "failure", "begun",
    )  # fmt: skip

    def __init__(self, packed: bytes | bytearray = b"") -> None:
        """Open what `pack` gave; nothing: a new account."""
        # `started_at`, `first_frame_at`: of the start (or a beacon's view), and of stream_start (or its play): a heartbeat is too
        # late to tell. The order is that of `_PACKED` and of the slots.
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
        ) = _PACKED.unpack_from(packed or _NEW)
        self.begun: tuple[Interval, ...] = ()
        """The intervals that began since it was opened: another state, another stream, or a first sign of life."""

    def pack(self) -> bytearray:
        """Return the account at rest: fixed size, little-endian; a later build may append to it. `plays_on` writes into it."""
        return bytearray(_PACKED.pack(*_VALUES_OF(self)))

    def apply(self, noted: Noted, left: Gain | None = None, entered: Gain | None = None) -> None:
        """
        Close the open interval at an input's time, then let its cue set the state of the next one.

        `left`, `entered`: of the stream watched until now, which gets the time, and of the input's own, which gets what it
        began; None for a question, which counts nothing.
        """
        at, cue, stream, cap_s, bitrate, latency, quality = noted
        goes_on = self.running and stream == self.stream
        if self.running:
            elapsed = at - self.at
            if elapsed > self.cap_s:  # noqa: PLR1730 - a call of min() costs more than all the rest
                elapsed = self.cap_s
            if elapsed > 0.0:
                self._spend(elapsed, left)
        self.at = at
        self.running = True
        self.cap_s = cap_s
        self.stream = stream
        if bitrate != UNKNOWN_NUMBER:
            self.bitrate = bitrate
        if latency != UNKNOWN_NUMBER:
            self.latency = latency
        if quality and quality != self.quality:
            self._switch(quality, entered)
        cue &= CUE_BITS
        after = (AFTER_FRAME if self.frame else BEFORE_FRAME)[cue]
        if after is not None:
            state = _STATE_OF[after]
            if state != self.state:
                self._enter(state, entered)
                goes_on = False
        if cue in _MARKS:
            self._mark(cue, at, entered)
        if not goes_on:
            self.begun += ((at, self.counted_s, stream, self.state | BY_SEEK * self.by_seek),)

    def _switch(self, quality: int, gain: Gain | None) -> None:
        if self.quality:
            self.switches += 1
            if gain is not None:
                gain.switches += 1
                gain.happened = True
        self.quality = quality

    def _mark(self, cue: int, at: float, gain: Gain | None) -> None:
        if cue == Cue.DVR_SEEK:
            self.seek_at = at
        elif cue in (Cue.START, Cue.VIEW):
            if self.started_at == NEVER:
                self.started_at = at
                self._tell_startup(gain)
        elif self.first_frame_at == NEVER and (cue == Cue.STREAM_START or self.started_at != NEVER):
            # A beacon's play tells when the first frame came only after its view.
            self.first_frame_at = at
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

    def _stall(self, elapsed: float, gain: Gain | None) -> None:
        by_seek_s = elapsed if self.by_seek else 0.0
        self.rebuffering_s += elapsed
        self.seek_rebuffering_s += by_seek_s
        if gain is not None:
            gain.rebuffering_s += elapsed
            gain.seek_rebuffering_s += by_seek_s

    def _enter(self, state: int, gain: Gain | None) -> None:
        self.state = state
        self.by_seek = False
        if state == _PLAYING:
            if gain is not None and not self.frame:
                gain.plays += 1
                gain.happened = True
            self.frame = True
        elif state == _FAILED:
            if not self.failure:
                self._fail(gain)
        elif state == _REBUFFERING:
            self.rebuffers += 1
            if self.at - self.seek_at <= SEEK_CAUSES_STALL_S:
                self.by_seek = True
                self.seek_rebuffers += 1
                self.seek_at = NEVER
            if gain is not None:
                gain.stalls += 1
                gain.happened = True
                gain.seek_stalls += self.by_seek

    def _fail(self, gain: Gain | None) -> None:
        self.failure = 2 if self.frame else 1
        if gain is None:
            return
        gain.happened = True
        if self.frame:
            gain.playback_failures += 1
        else:
            gain.start_failures += 1

    def silence(self) -> None:
        """Close the open interval at the last input; time until the next one is nobody's."""
        if self.running:
            self.running = False
            self.begun += ((self.at, self.counted_s, self.stream, SILENCE),)

    @property
    def counted_s(self) -> float:
        """All seconds that count for something."""
        counted: float = self.starting_s + self.playing_s + self.rebuffering_s + self.paused_s
        return counted

    @property
    def playback(self) -> Playback:
        """The state that the last input set."""
        playback: Playback = PLAYBACKS[self.state]
        return playback


_VALUES_OF: Final = attrgetter(*Account.__slots__[:-1])
_MARKS: Final = frozenset({Cue.DVR_SEEK, Cue.START, Cue.VIEW, Cue.STREAM_START, Cue.PLAY})
_STATE_OF: Final = {playback: state for state, playback in enumerate(PLAYBACKS)}
_STARTING: Final = _STATE_OF[Playback.STARTING]
_PLAYING: Final = _STATE_OF[Playback.PLAYING]
_REBUFFERING: Final = _STATE_OF[Playback.REBUFFERING]
_PAUSED: Final = _STATE_OF[Playback.PAUSED]
_FAILED: Final = _STATE_OF[Playback.FAILED]
_BEAT_PLAYING: Final = int(Cue.BEAT_PLAYING)
_NEW: Final = _PACKED.pack(
    NEVER, NEVER, NEVER, NEVER, *(0.0,) * 9, UNKNOWN_NUMBER, UNKNOWN_NUMBER, 0, 0, 0, 0, 0, 0, _STARTING, False, False, False, 0
)

# Of an account at rest, what an input reads and writes that only says that the session plays on.
_STEADY: Final = Struct("<d32xd24x4d3I12xH2BxB")
_AT: Final = Struct("<d")
_PLAYING_S_AT: Final = 40
_FLOW: Final = Struct("<4d2I")
_FLOW_AT: Final = 72
_CAP: Final = Struct("<H")
_CAP_AT: Final = 128


def plays_on(account: bytearray, noted: Noted, gain: Gain) -> bool:
    """
    Apply an input that only says that its session plays on, without opening the account; False: it says more, and nothing was done.

    Most heartbeats are of that kind, and `Account.apply` would do the same at four times the cost. `gain` is of the stream that is watched.
    """
    at, cue, stream, cap_s, bitrate, latency, quality = noted
    since, playing_s, bits, bitrate_s, latency_us_s, latency_s, flow, delay, shown, longest_s, watched, state, running = (
        _STEADY.unpack_from(account)
    )
    if cue & CUE_BITS != _BEAT_PLAYING or state != _PLAYING or not running or stream != watched or quality not in (shown, 0):
        return False
    elapsed = at - since
    if elapsed > longest_s:  # noqa: PLR1730 - as above
        elapsed = longest_s
    if elapsed > 0.0:
        playing_s += elapsed
        gain.playing_s += elapsed
        if flow != UNKNOWN_NUMBER:
            bits += flow * elapsed
            bitrate_s += elapsed
            gain.bits += flow * elapsed
            gain.bitrate_s += elapsed
        if delay != UNKNOWN_NUMBER:
            latency_us_s += delay * elapsed
            latency_s += elapsed
        _AT.pack_into(account, _PLAYING_S_AT, playing_s)
    _AT.pack_into(account, 0, at)
    flow = flow if bitrate == UNKNOWN_NUMBER else bitrate
    delay = delay if latency == UNKNOWN_NUMBER else latency
    _FLOW.pack_into(account, _FLOW_AT, bits, bitrate_s, latency_us_s, latency_s, flow, delay)
    if cap_s != longest_s:
        _CAP.pack_into(account, _CAP_AT, cap_s)
    return True
