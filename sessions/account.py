"""
One session's account: how long in which state, and what was counted on the way.

Theory of operation: inputs reach the account sorted by the player's own time, once they leave the reordering window
(`session.py`). The time between two inputs belongs to the state that the first one set, is clipped to [0, cap], the cap being the
promise (interval × expiry intervals) that held when it began, and counts for the stream that was watched. Sums are of folded time only; what is
still in the window is provisional and is added on a copy by whoever asks.

It knows neither the server's clock nor liveness.
"""

from array import array
from collections.abc import Sequence
from typing import Final

from sessions.limits import SEEK_CAUSES_STALL_S
from sessions.states import PLAYBACKS, Cue, Playback
from sessions.transitions import AFTER_FRAME, BEFORE_FRAME

UNKNOWN_NUMBER: Final = 0xFFFF_FFFF
"""Of a bitrate or a latency: the player did not say."""

# Where each sum stands in `Account.sums`: an array of doubles, because a million sessions hold one each.
AT: Final = 0
"""Player's time of the last input folded."""
SEEK_AT: Final = 1
"""Player's time of the last dvr_seek that caused no stall yet; -inf: none."""
STARTING_S: Final = 2
PLAYING_S: Final = 3
REBUFFERING_S: Final = 4
SEEK_REBUFFERING_S: Final = 5
"""The part of REBUFFERING_S that a seek caused."""
PAUSED_S: Final = 6
BITS: Final = 7
"""Σ bitrate·dt, playing, where a bitrate is known."""
BITRATE_S: Final = 8
"""Σ dt of the same."""
LATENCY_US_S: Final = 9
"""Σ latency·dt, playing, where a latency is known; µs·s."""
LATENCY_S: Final = 10
"""Σ dt of the same."""
FAILURES: Final = (None, "start", "playback")
"""A fatal error, or an end for an error: before the first frame (VSF), or after it (VPF)."""
_BLANK: Final = (float("-inf"), float("-inf"), *(0.0,) * 9)


class Account:
    """
    The folded past of one session.

    `apply` is the only mutator; inputs must come in the order of the player's time.
    """

    __slots__ = (
        "bitrate",
        "by_seek",
        "cap_s",
        "failure",
        "frame",
        "latency",
        "playback",
        "quality",
        "rebuffers",
        "running",
        "seek_rebuffers",
        "stream",
        "sums",
        "switches",
    )

    def __init__(self) -> None:
        self.sums: array[float] = array("d", _BLANK)
        self.playback: Playback = Playback.STARTING
        self.frame = False
        """A first frame was shown."""
        self.running = False
        """An interval is open: it began at `sums[AT]`, in `playback`."""
        self.by_seek = False
        """The present stall was caused by a seek."""
        self.cap_s = 0
        self.stream = 0
        """Index into the session's streams: whose the open interval is."""
        self.bitrate = UNKNOWN_NUMBER
        """The last known, bits/s."""
        self.latency = UNKNOWN_NUMBER
        """The last known, µs."""
        self.quality = 0
        """Fingerprint of the last quality; 0: none yet."""
        self.rebuffers = 0
        self.seek_rebuffers = 0
        self.switches = 0
        self.failure = 0
        """Index into `FAILURES`: at most one per session, the first."""

    def apply(self, at: float, cue: int, stream: int, cap_s: int, bitrate: int, latency: int, quality: int) -> None:
        """Close the open interval at `at` (player's time), then let the cue set the state of the next one."""
        sums = self.sums
        playback = self.playback
        if self.running:
            elapsed = at - sums[AT]
            if elapsed > self.cap_s:
                elapsed = float(self.cap_s)
            if elapsed > 0.0:
                if playback is Playback.PLAYING:
                    sums[PLAYING_S] += elapsed
                    if self.bitrate != UNKNOWN_NUMBER:
                        sums[BITS] += self.bitrate * elapsed
                        sums[BITRATE_S] += elapsed
                    if self.latency != UNKNOWN_NUMBER:
                        sums[LATENCY_US_S] += self.latency * elapsed
                        sums[LATENCY_S] += elapsed
                elif playback is Playback.PAUSED:
                    sums[PAUSED_S] += elapsed
                elif playback is Playback.REBUFFERING:
                    sums[REBUFFERING_S] += elapsed
                    if self.by_seek:
                        sums[SEEK_REBUFFERING_S] += elapsed
                elif playback is Playback.STARTING:
                    sums[STARTING_S] += elapsed
        sums[AT] = at
        self.running = True
        self.cap_s = cap_s
        self.stream = stream
        if bitrate != UNKNOWN_NUMBER:
            self.bitrate = bitrate
        if latency != UNKNOWN_NUMBER:
            self.latency = latency
        if quality and quality != self.quality:
            if self.quality:
                self.switches += 1
            self.quality = quality
        after = AFTER_FRAME[cue] if self.frame else BEFORE_FRAME[cue]
        if after is not None and after is not playback:
            self._enter(after, at)
        if cue == Cue.DVR_SEEK:
            sums[SEEK_AT] = at

    def _enter(self, playback: Playback, at: float) -> None:
        self.playback = playback
        self.by_seek = False
        if playback is Playback.PLAYING:
            self.frame = True
        elif playback is Playback.FAILED and not self.failure:
            self.failure = 2 if self.frame else 1
        elif playback is Playback.REBUFFERING:
            self.rebuffers += 1
            if at - self.sums[SEEK_AT] <= SEEK_CAUSES_STALL_S:
                self.by_seek = True
                self.seek_rebuffers += 1
                self.sums[SEEK_AT] = float("-inf")

    def stop(self) -> None:
        """Close the account where it stands: no time counts until the next input (expired, or ended)."""
        self.running = False

    def copy(self) -> "Account":
        """Return an independent copy, for looking ahead."""
        return Account.load(self.dump())

    def dump(self) -> tuple[object, ...]:
        """Return plain values; `load` takes them back."""
        return (
            self.sums.tolist(),
            PLAYBACKS.index(self.playback),
            self.frame,
            self.running,
            self.by_seek,
            self.cap_s,
            self.stream,
            self.bitrate,
            self.latency,
            self.quality,
            self.rebuffers,
            self.seek_rebuffers,
            self.switches,
            self.failure,
        )

    @classmethod
    def load(cls, values: Sequence[object]) -> "Account":
        """Rebuild an account; sums that an older build did not know are zero."""
        account = cls()
        sums, playback, *rest = values
        for index, value in enumerate(sums[: len(_BLANK)]):  # type: ignore[index]
            account.sums[index] = value
        account.playback = PLAYBACKS[playback]  # type: ignore[call-overload]
        names = (
            "frame", "running", "by_seek", "cap_s", "stream", "bitrate", "latency", "quality",
            "rebuffers", "seek_rebuffers", "switches", "failure",
        )  # fmt: skip
        for name, value in zip(names, rest, strict=False):
            setattr(account, name, value)
        return account
