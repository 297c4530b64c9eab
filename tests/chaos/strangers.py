"""
Sessions beside the crowd: who vanishes without a word, and whose stored record is damaged.

Nobody of the crowd falls silent, so that whoever of it expires does so wrongly. Whether somebody who is gone expires, and when, is seen
by strangers. What they leave in the books is kept apart (`Strangers`), so that the crowd's own still have to agree.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from serve_app.players import examples
from tests.chaos.crowd import END, HEARTBEAT, START
from tests.chaos.numbers import EXPIRY_INTERVALS, FRESH_S, Life
from tests.integration.installation import Answer, Installation, wait_until

RIGHT_WITHIN_S = 2.0
"""Between when somebody should have expired and when it is seen that they have."""


@dataclass
class Stranger:
    """One session, spoken for by the test itself; all times are this machine's own, which no test steps."""

    tracker: Installation
    session_id: str
    came_at: float = 0.0
    there_at: float = 0.0
    """When its start was acknowledged."""
    heard_from_s: float = 0.0
    """When its last beat was sent first: the tracker cannot have heard it before."""
    heard_until_s: float = 0.0
    """When that beat was acknowledged: nor after."""
    promised_s: float = 0.0

    def start(self) -> None:
        self.came_at = self.came_at or time.time()
        assert self._say(START, examples.START)["accepted"]
        self.there_at = self.there_at or time.time()

    def beat(self) -> dict[str, Any]:
        self.heard_from_s = time.time()
        answer = self._say(HEARTBEAT, examples.HEARTBEAT)
        self.heard_until_s = time.time()
        assert answer["accepted"], answer
        self.promised_s = answer["next_heartbeat_seconds"] * EXPIRY_INTERVALS
        return answer

    def end(self) -> None:
        assert self._say(END, examples.END)["accepted"]

    @property
    def expired(self) -> bool:
        answer = self.tracker.get(f"/v1/sessions/{self.session_id}")
        assert answer.status == 200, answer.body
        return bool(answer.json()["liveness"] == "expired")

    @property
    def life(self) -> Life:
        """Return between which moments it may have been counted, if it has vanished."""
        surely = self.heard_from_s + self.promised_s - RIGHT_WITHIN_S
        return Life(self.came_at, self.there_at, surely, self.heard_until_s + self.promised_s + RIGHT_WITHIN_S + FRESH_S)

    def has_gone(self, *, away_s: float = 0.0) -> bool:
        """
        Tell whether it has expired; claim that it does when it was promised to, give or take two seconds.

        `away_s`: the most of our own outages since its beat.
        """
        due_from_s, due_until_s = self.heard_from_s + self.promised_s, self.heard_until_s + self.promised_s + away_s
        asked_at = time.time()
        has_gone = self.expired
        assert asked_at <= due_until_s + RIGHT_WITHIN_S, (
            f"{self.session_id} expires {asked_at - due_until_s:.1f} s or more after it was due"
        )
        if has_gone:
            now = time.time()
            print(
                f"{self.session_id} expired {now - due_from_s:.2f} s after it was due, heard within {self.heard_until_s - self.heard_from_s:.2f} s"
            )
            assert now >= due_from_s - RIGHT_WITHIN_S, f"{self.session_id} expired {due_from_s - now:.1f} s too early"
        return has_gone

    def await_expiry(self, *, away_s: float = 0.0) -> None:
        """See it expire in time."""
        wait_until(lambda: self.has_gone(away_s=away_s), within_s=120, what=f"{self.session_id} expires")

    def _say(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Say it until it is acknowledged, as players do."""
        said = {**body, "session_id": self.session_id, "timestamp": datetime.now(UTC).isoformat()}
        answers: list[Answer] = []

        def is_acknowledged() -> bool:
            answers.append(self.tracker.post(path, said))
            assert answers[-1].status in {200, 503}, answers[-1].body
            return answers[-1].status == 200

        wait_until(is_acknowledged, within_s=60, what=f"{path} of {self.session_id} is acknowledged")
        data: dict[str, Any] = answers[-1].json()["data"]
        return data


@dataclass
class Strangers:
    """All of one tracker's, and what they are in its books."""

    tracker: Installation
    ids: set[str] = field(default_factory=set)
    gone: list[Stranger] = field(default_factory=list)
    ledger: Counter[str] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=count)

    def invite(self, name: str) -> Stranger:
        """Return somebody who has started and beaten."""
        stranger = Stranger(self.tracker, f"{name}-{next(self._numbers)}")
        self.ids.add(stranger.session_id)
        stranger.start()
        self.ledger["started"] += 1
        stranger.beat()
        return stranger

    def vanish(self, name: str) -> Stranger:
        """Return somebody who has started and beaten, and will never be heard again."""
        stranger = self.invite(name)
        self.ledger["expired"] += 1
        self.gone.append(stranger)
        return stranger


def step_file(tracker: Installation) -> Path:
    """Return the file that holds by how much the clock of this tracker's processes is stepped; it says nothing yet."""
    file = tracker.folder / "clock-step"
    file.write_text("0")
    return file


def set_clock(file: Path, seconds: float) -> None:
    """Step the clock, at once for all who read it."""
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(file)
