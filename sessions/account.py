"""
One session's account: how long in which state, and what was counted on the way.

Theory of operation: inputs reach the account sorted by the player's own time, once they leave the reordering window
(`session.py`). The time between two inputs belongs to the state that the first one set, is clipped to [0, cap], the cap being the
promise (interval times expiry intervals) that held when it began, and counts for the stream that was watched. Sums are of folded time only; what is
still in the window is provisional and is added on a copy by whoever asks.

It knows neither the server's clock nor liveness.
"""

from operator import attrgetter
from struct import Struct
from typing import Final

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

_PACKED: Final = Struct("<13d6IH6B")
"""An account at rest: a million sessions hold one each, and only the one that is spoken of needs to be an object. It grows at its end."""


class Account:
    """
    The folded past of one session.

    `apply` is the only mutator; inputs must come in the order of the player's time.
    """

    __slots__ = (  # noqa: RUF023 - the order of `_PACKED`
        "at", "seek_at", "started_at", "first_frame_at", "starting_s", "playing_s", "rebuffering_s", "seek_rebuffering_s", "paused_s", "bits", "bitrate_s",
        "latency_us_s", "latency_s", "bitrate", "latency", "quality", "rebuffers", "seek_rebuffers", "switches", "cap_s",
        "stream", "state", "frame", "running", "by_seek", "failure",
    )  # fmt: skip

    def __init__(self, packed: bytes = b"") -> None:
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

    def pack(self) -> bytes:
        """Return the account at rest: fixed size, little-endian; a later build may append to it."""
        return _PACKED.pack(*_VALUES_OF(self))

    def apply(self, at: float, cue: int, stream: int, cap_s: int, bitrate: int, latency: int, quality: int) -> None:
        """Close the open interval at `at` (player's time), then let the cue set the state of the next one."""
        if self.running:
            elapsed = at - self.at
            if elapsed > self.cap_s:  # noqa: PLR1730 - a call of min() costs more than all the rest
                elapsed = self.cap_s
            if elapsed > 0.0:
                self._spend(elapsed)
        self.at = at
        self.running = True
        self.cap_s = cap_s
        self.stream = stream
        if bitrate != UNKNOWN_NUMBER:
            self.bitrate = bitrate
        if latency != UNKNOWN_NUMBER:
            self.latency = latency
        if quality and quality != self.quality:
            self.switches += self.quality != 0
            self.quality = quality
        cue &= CUE_BITS
        after = (AFTER_FRAME if self.frame else BEFORE_FRAME)[cue]
        if after is not None:
            state = _STATE_OF[after]
            if state != self.state:
                self._enter(state)
        if cue in _MARKS:
            self._mark(cue, at)

    def _mark(self, cue: int, at: float) -> None:
        if cue == Cue.DVR_SEEK:
            self.seek_at = at
        elif cue in (Cue.START, Cue.VIEW):
            if self.started_at == NEVER:
                self.started_at = at
        elif self.first_frame_at == NEVER and (cue == Cue.STREAM_START or self.started_at != NEVER):
            # A beacon's play tells when the first frame came only after its view.
            self.first_frame_at = at

    def _spend(self, elapsed: float) -> None:
        state = self.state
        if state == _PLAYING:
            self.playing_s += elapsed
            if self.bitrate != UNKNOWN_NUMBER:
                self.bits += self.bitrate * elapsed
                self.bitrate_s += elapsed
            if self.latency != UNKNOWN_NUMBER:
                self.latency_us_s += self.latency * elapsed
                self.latency_s += elapsed
        elif state == _PAUSED:
            self.paused_s += elapsed
        elif state == _REBUFFERING:
            self.rebuffering_s += elapsed
            if self.by_seek:
                self.seek_rebuffering_s += elapsed
        elif state == _STARTING:
            self.starting_s += elapsed

    def _enter(self, state: int) -> None:
        self.state = state
        self.by_seek = False
        if state == _PLAYING:
            self.frame = True
        elif state == _FAILED:
            self.failure = self.failure or (2 if self.frame else 1)
        elif state == _REBUFFERING:
            self.rebuffers += 1
            if self.at - self.seek_at <= SEEK_CAUSES_STALL_S:
                self.by_seek = True
                self.seek_rebuffers += 1
                self.seek_at = NEVER

    @property
    def playback(self) -> Playback:
        """The state that the last input set."""
        playback: Playback = PLAYBACKS[self.state]
        return playback


_VALUES_OF: Final = attrgetter(*Account.__slots__)
_MARKS: Final = frozenset({Cue.DVR_SEEK, Cue.START, Cue.VIEW, Cue.STREAM_START, Cue.PLAY})
_STATE_OF: Final = {playback: state for state, playback in enumerate(PLAYBACKS)}
_STARTING: Final = _STATE_OF[Playback.STARTING]
_PLAYING: Final = _STATE_OF[Playback.PLAYING]
_REBUFFERING: Final = _STATE_OF[Playback.REBUFFERING]
_PAUSED: Final = _STATE_OF[Playback.PAUSED]
_FAILED: Final = _STATE_OF[Playback.FAILED]
_NEW: Final = _PACKED.pack(
    NEVER, NEVER, NEVER, NEVER, *(0.0,) * 9, UNKNOWN_NUMBER, UNKNOWN_NUMBER, 0, 0, 0, 0, 0, 0, _STARTING, False, False, False, 0
)
