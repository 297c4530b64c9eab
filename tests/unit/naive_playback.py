"""
The naive playback machine: the rules of what a player does, one input after the other, with nothing packed and nothing cached.

The naive slot, the naive quality and the naive formulas all go through what was said with it. It shares nothing with `sessions/`.
"""

from dataclasses import dataclass
from typing import Final

SAYS: Final = {
    "start": "starting",
    "playing": "playing",
    "rebuffering": "rebuffering",
    "paused": "paused",
    "idle": "paused",
    "stream_start": "playing",
    "stream_buffer_start": "rebuffering",
    "stream_reconnect": "rebuffering",
    "fatal": "failed",
    "play": "playing",
    "first check": "playing",
    "view": "shown",
}
GO_BACK: Final = ("stream_buffer_end", "stream_reconnect_success", "dvr_resume_live")
PLAYS: Final = ("playing", "stream_start", "play", "first check", "stream_reconnect_success")
WAITS: Final = ("rebuffering", "stream_buffer_start", "stream_reconnect")


@dataclass
class Playback:
    """What a player does, as far as it said."""

    state: str = "starting"
    frame: bool = False
    since: float = float("-inf")
    """When the state began."""
    before_stall: str = "playing"
    before_ad: str = "playing"
    ad: str = ""
    """Empty, "one", or "break"."""
    seek_at: float = float("-inf")
    by_seek: bool = False
    stalls: int = 0
    seek_stalls: int = 0
    failure: str | None = None

    def spend(self, since: float, at: float, cap_s: float, what: str) -> list[tuple[str, float]]:
        """Return (state, seconds) of the time between two inputs, of which the second says `what`."""
        seconds = min(max(at - since, 0.0), cap_s)
        waits = self.state == "rebuffering" or (self.state == "starting" and what in (*WAITS, "idle"))
        if not waits or at - self.since <= 300:
            return [(self.state, seconds)]
        waited = min(seconds, max(0.0, self.since + 300 - since))
        spent = [(self.state, waited), ("stalled", seconds - waited)]
        self.state, self.since, self.by_seek = "stalled", self.since + 300, False
        return spent

    def hear(self, what: str, at: float, *, after_silence: bool = False) -> None:
        """Take one input; those of one session come in the order of its clock, after `spend`."""
        if after_silence:
            self.since = at
        if what == "dvr_seek":
            self.seek(at)
            return
        state = self.leads_to(what, at)
        if what in ("ad_break_start", "ad_start") and state == "ad":
            self.since = at
        if state != self.state:
            self.enter(state, at)

    def leads_to(self, what: str, at: float) -> str:
        if self.state == "failed" and what not in PLAYS:
            return "failed"
        if what.startswith("ad_"):
            return self.advertisement(what)
        said = self.says(what)
        if self.ad and what != "stream_start" and said != "failed" and at - self.since <= 600:
            if what in GO_BACK:
                self.before_ad = self.back_from(self.before_ad)
            return "ad"
        if what in GO_BACK:
            self.ad = ""
            return self.back_from(self.before_ad if self.state == "ad" else self.state)
        if said is None or (self.state == "stalled" and what in WAITS):
            return self.state
        self.ad = ""
        return said

    def says(self, what: str) -> str | None:
        said = SAYS.get(what)
        if (what == "start" and self.frame) or (what == "idle" and not self.frame):
            return None
        return "starting" if said == "rebuffering" and not self.frame else said

    def advertisement(self, what: str) -> str:
        if what in ("ad_break_start", "ad_start"):
            self.before_ad = self.before_ad if self.ad else self.state
            self.ad = "break" if what == "ad_break_start" or self.ad == "break" else "one"
            return "ad"
        if what == "ad_error" or not self.ad or (what == "ad_end" and self.ad == "break"):
            return self.state
        self.ad = ""
        return self.before_ad

    def back_from(self, state: str) -> str:
        if state in ("rebuffering", "stalled"):
            return self.before_stall if self.frame else "starting"
        return "playing" if state == "failed" and self.frame else state

    def enter(self, state: str, at: float) -> None:
        before, self.state, self.since = self.state, state, at
        self.by_seek = self.by_seek and (state == "ad" or (before, state) == ("ad", "rebuffering"))
        if state == "playing":
            self.frame, self.failure = True, None
        elif state == "failed":
            self.failure = "playback" if self.frame else "start"
        elif state == "rebuffering" and before != "ad":
            self.before_stall = "paused" if before == "paused" else "playing"
            self.stalls += 1
            if at - self.seek_at <= 5:
                self.by_seek, self.seek_at = True, float("-inf")
                self.seek_stalls += 1

    def seek(self, at: float) -> None:
        if self.state == "rebuffering" and not self.by_seek and at - self.since <= 0.5:
            self.by_seek = True
            self.seek_stalls += 1
        else:
            self.seek_at = at
