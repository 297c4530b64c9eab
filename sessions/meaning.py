"""
What a player's reports mean, one after the other in their order: which cues each of them is to its session's account.

Theory of operation: reports are put into the order of their own time first (`reporter.py`); only then does one mean something, because the
same word means different things after others: who waits before the first frame starts, who waits after a seek waits for the seek. `read`
takes what was known so far (`Known`, plain numbers) and one report, and returns what is known then, with the cues. State comes from
`ps` and `t` alone: all other kinds carry that of another moment.

It knows neither clocks nor windows, and nothing of who sends what how often.
"""

from typing import Final, NamedTuple

from sessions.events import REPORT_KINDS, REPORT_STATES, RESUMED
from sessions.states import Cue

KIND: Final = {kind: number for number, kind in enumerate(REPORT_KINDS)}
STATE: Final = {state: number for number, state in enumerate(REPORT_STATES)}


class Known(NamedTuple):
    """What the reports so far have told. Grows as `growing.py` says."""

    state: int = 0
    """The last one that was told, of `REPORT_STATES`, as far as it is believed: of a seek while paused, paused."""
    speaks: int = 0
    """It tells its state at all: some players never do."""
    has_media: int = 0
    asked: int = 0
    """It was asked to play, since it was loaded."""
    framed: int = 0
    """It has shown a frame, since it was loaded."""
    before_seek: int = 0
    """The state in which the present seek began; 0: it does not seek."""
    seek_beats: int = 0
    """How often `t` said in a row that it seeks."""


NOTHING: Final = Known()

_D, _S, _P, _R, _W, _K, _A, _E, _Q, _F = (STATE[state] for state in "dsprwkaeqf")
_RESUMED: Final = STATE[RESUMED]
_PS, _T = KIND["ps"], KIND["t"]
_WAITS: Final = (_R, _W)
_OVER: Final = {_E: "completed", _Q: "user_exit"}
_NO_CUE: Final = (Cue.CHECK,)
_ADS: Final = {
    KIND["abs"]: (Cue.AD_BREAK_START,),
    KIND["as"]: (Cue.AD_START,),
    KIND["ae"]: (Cue.AD_END,),
    KIND["abe"]: (Cue.AD_BREAK_END,),
}
_CUES: Final = {_P: (Cue.BEAT_PLAYING,), _A: (Cue.BEAT_PAUSED,), _F: (Cue.FATAL_ERROR,), _E: _NO_CUE, _Q: _NO_CUE}
_FIRST_FRAME: Final = {_PS: (Cue.STREAM_START,), _T: (Cue.BEAT_PLAYING,)}
"""A `t` that says for the first time that it plays came too late to tell when that began."""

Cues = tuple[Cue, ...]


def ending_of(known: Known) -> str | None:
    """Return for what reason the session is over, if its last word was that it is."""
    return _OVER.get(known.state)


def is_blind(known: Known) -> bool:
    """Tell whether it plays something, and never said what it does: it counts as watching, and in nothing that needs to know more."""
    return bool(known.has_media) and not known.speaks


def read(known: Known, kind: int, state: int, *, has_media: bool, is_moved: bool = False) -> tuple[Known, Cues]:
    """
    Return what is known after one more report, and the cues that it is to the account, in order; never none: it was a sign of life.

    `is_moved`: it names another stream than those before it.
    """
    if is_moved:
        known, cues = read(Known(speaks=known.speaks, has_media=known.has_media), kind, state, has_media=has_media)
        return known, cues if cues[0] is Cue.MOVED else (Cue.MOVED, *cues)
    if state == known.state and state in _GOES_ON and (kind in (_T, _PS)) and not known.before_seek:
        # As most of them are: it goes on as it was.
        return known, _GOES_ON[state]
    was_blind = is_blind(known)
    if has_media and not known.has_media:
        known = known._replace(has_media=1)
    if kind in _ADS:
        return known, _ADS[kind]
    if kind not in (_PS, _T) or not state:
        return known, _says_nothing(known)
    if known.speaks:
        return _take(known, kind, state)
    known, cues = _take(known._replace(speaks=1), kind, state)
    # What was taken for playing while it said nothing was nothing that is measured: its play begins now.
    return known, (Cue.MOVED, *cues) if was_blind else cues


def names_stream(kind: int) -> bool:
    """Tell whether a report of this kind is believed about the stream that it names: others may speak of the one before."""
    return kind in _NAMING


_NAMING: Final = (_PS, _T, KIND["c"], KIND[""])


def _says_nothing(known: Known) -> Cues:
    """Return what a report is that tells no state: what is going on goes on, and what is merely shown is shown."""
    if is_blind(known):
        return (Cue.BEAT_PLAYING,)
    if known.framed or known.asked or known.state not in _UNASKED:
        return (Cue.BEAT_REBUFFERING,) if known.has_media and not known.framed and known.state in _WAITS else _NO_CUE
    return (Cue.VIEW,)


_UNASKED: Final = (0, _D)
_GOES_ON: Final = {_P: (Cue.BEAT_PLAYING,), _A: (Cue.BEAT_PAUSED,)}


def _take(known: Known, kind: int, state: int) -> tuple[Known, Cues]:
    if state == _K:
        return _seek(known, kind)
    if state in _WAITS:
        return _wait(known, state)
    if state == _RESUMED:
        return _resume(known)
    known = known._replace(before_seek=0, seek_beats=0)
    if state in (_D, _S):
        return _load(known, state)
    if state == _P and not known.framed:
        return known._replace(state=_P, framed=1), _FIRST_FRAME[kind]
    return known._replace(state=state), _CUES[state]


def _resume(known: Known) -> tuple[Known, Cues]:
    """Take that nothing is waited for any more: what was paused stays so, and what starts plays only once it says so."""
    if not known.framed or known.state not in (*_WAITS, _K):
        return known._replace(before_seek=0, seek_beats=0), _says_nothing(known)
    return known._replace(state=_P, before_seek=0, seek_beats=0), (Cue.BUFFER_END,)


def _load(known: Known, state: int) -> tuple[Known, Cues]:
    """Take that something is loaded, or asked for: after a play, or a failure, it is another thing."""
    is_another = known.framed or known.state in (_E, _Q, _F) or (state == _D and known.asked)
    if is_another:
        known = known._replace(framed=0, asked=0)
    cues: Cues = (Cue.MOVED,) if is_another else ()
    if state == _D:
        return known._replace(state=_D), cues or (Cue.VIEW,)
    if not known.asked:
        return known._replace(state=_S, asked=1), (*cues, Cue.START)
    return known._replace(state=_S), (Cue.BEAT_REBUFFERING,)


def _wait(known: Known, state: int) -> tuple[Known, Cues]:
    if not known.framed:
        # It starts; or nobody knows what it waits for, as nothing is there to be played.
        waits = known.asked or known.has_media
        return known._replace(state=state), (Cue.BEAT_REBUFFERING,) if waits else (Cue.VIEW,)
    if known.before_seek == _A:
        # Who pauses and seeks waits for nothing.
        return known, (Cue.BEAT_PAUSED,)
    return known._replace(state=state, seek_beats=0), (Cue.BEAT_REBUFFERING,)


def _seek(known: Known, kind: int) -> tuple[Known, Cues]:
    if not known.framed:
        return known, _says_nothing(known)
    if kind == _T:
        return _still_seeks(known)
    if known.before_seek == _A or (not known.before_seek and known.state == _A):
        return known._replace(before_seek=_A), (Cue.BEAT_PAUSED,)
    before = known.before_seek or _P
    return known._replace(state=_K, before_seek=before, seek_beats=0), (Cue.DVR_SEEK, Cue.BEAT_REBUFFERING)


def _still_seeks(known: Known) -> tuple[Known, Cues]:
    """Take a `t` that says that it seeks: the second in a row is no seek any more, but a player that forgot to say what came of it."""
    if _A in (known.state, known.before_seek):
        return known._replace(before_seek=_A), (Cue.BEAT_PAUSED,)
    if known.seek_beats:
        return known._replace(state=_P), (Cue.BEAT_PLAYING,)
    cues: Cues = (Cue.BEAT_REBUFFERING,) if known.before_seek else (Cue.DVR_SEEK, Cue.BEAT_REBUFFERING)
    return known._replace(state=_K, before_seek=known.before_seek or _P, seek_beats=1), cues
