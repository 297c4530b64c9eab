"""
The usual heartbeat, applied to the packed account itself.

Most heartbeats say only that playback goes on. `Account.apply` does the same at four times the cost, and is the measure: a test applies
both to the same inputs. Where each number stands is worked out from the account's own layout.
"""

from struct import Struct
from typing import Final

from sessions.account import CUE_BITS, FIELDS, NOT_LIVE, UNKNOWN_NUMBER, Noted
from sessions.gains import Gain
from sessions.states import PLAYBACKS, Cue, Playback

_BEAT_PLAYING: Final = int(Cue.BEAT_PLAYING)
_PLAYING: Final = PLAYBACKS.index(Playback.PLAYING)


def _offset_of(name: str) -> int:
    """Return where a number stands in an account at rest."""
    names = [each for each, _ in FIELDS]
    return Struct("<" + "".join(kind for _, kind in FIELDS[: names.index(name)])).size


def _picking(*names: str) -> Struct:
    """Return what unpacks only these numbers, in their order, and steps over the others."""
    wanted = set(names)
    return Struct("<" + "".join(kind if name in wanted else f"{Struct(kind).size}x" for name, kind in FIELDS))


# The numbers that `plays_on` reads or writes in an account at rest.
_STEADY: Final = _picking(
    "at",
    "playing_s",
    "bits",
    "bitrate_s",
    "latency_us_s",
    "latency_s",
    "bitrate",
    "latency",
    "quality",
    "cap_s",
    "stream",
    "state",
    "running",
)
_AT: Final = Struct("<d")
_PLAYING_S_AT: Final = _offset_of("playing_s")
_FLOW: Final = Struct("<4d2I")
_FLOW_AT: Final = _offset_of("bits")
_CAP: Final = Struct("<H")
_CAP_AT: Final = _offset_of("cap_s")


def plays_on(account: bytearray, noted: Noted, gain: Gain) -> bool:
    """
    Apply an input that says only that playback goes on, on the packed account itself; False: it says more, and nothing was changed.

    Most heartbeats say no more. `Account.apply` does the same at four times the cost. `gain` is of the stream that is watched.
    """
    at, cue, stream, cap_s, bitrate, latency, quality = noted
    since, playing_s, bits, bitrate_s, latency_us_s, latency_s, flow, delay, shown, longest_s, watched, state, running = (
        _STEADY.unpack_from(account)
    )
    if (
        cue & CUE_BITS != _BEAT_PLAYING
        or state != _PLAYING
        or not running
        or stream != watched
        or quality not in (shown, 0)
        or latency == NOT_LIVE
    ):
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
