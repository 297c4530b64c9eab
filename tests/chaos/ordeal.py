"""One fault, lived through: broken, healed, and every promise compared with what was acknowledged. And how a scene ends."""

import time

from sessions.states import Liveness
from sessions.story import What
from tests.chaos.faults import Fault
from tests.chaos.scene import Scene, Stored
from tests.chaos.table import Row, save
from tests.integration.installation import wait_until

HEARD_WITHIN_S = 120.0


def suffer(scene: Scene, fault: Fault, row: Row, *, times: int, keep: bool) -> None:
    """
    Break it so often, and claim each time that nothing acknowledged is lost and nobody is expired.

    `keep`: it is the long form, which has the machine for itself: times are claimed too, and the row is kept, however it ends.
    """
    late = []
    row.kept = False
    try:
        if keep and fault.restarts:
            scene.tracker.stop()
            scene.tracker.start()
        for _ in range(times):
            lasted_s, wait_s = _live_through(scene, fault, row)
            if wait_s - lasted_s > fault.cured_within_s or row.recoveries_s[-1] > fault.recovers_within_s:
                late.append((round(lasted_s, 1), round(wait_s, 1), round(row.recoveries_s[-1], 1)))
        assert not (keep and late), f"took longer than promised (lasted, waited, recovered): {late}"
        row.kept = True
    finally:
        if keep:
            save([row])


def agree(scene: Scene) -> None:
    """Let the crowd come to rest, so that its truth is exact, and claim that the tracker's is the same, session by session."""
    scene.crowd.rest()
    memories = scene.crowd.memories()
    stored = scene.stored()
    assert set(stored.sessions) == {memory.session_id for memory in memories} | scene.strangers.ids
    watching = sum(not memory.ended for memory in memories)
    for memory in memories:
        session = stored.sessions[memory.session_id]
        assert (session.settled().switches, session.provisional) == (memory.beats, False), memory
    strangers = scene.strangers.ledger
    assert stored.ledger == {
        "started": len(memories) + strangers["started"],
        "ended": len(memories) - watching + strangers["ended"],
        "active": watching,
        "provisional": strangers["provisional"],
        "revived": 0,
        "expired": strangers["expired"],
    }
    scene.await_count(watching)
    audit = scene.tracker.run("audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert "Every ledger holds: 256 slots." in audit.stdout


def order(scene: Scene, *command: str) -> str:
    """Run a command under the crowd; claim that it succeeded and that no player was answered anything but 200."""
    scene.crowd.next_episode()
    done = scene.tracker.run(*command, within_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    scene.crowd.probe().result(30)
    episode = scene.crowd.next_episode()
    assert episode.acknowledged > 0
    assert not episode.troubles, episode.troubles
    return done.stdout


def _live_through(scene: Scene, fault: Fault, row: Row) -> tuple[float, float]:
    """Return how long nobody can have been heard (0.0: it is no outage that lasts) and the longest that a player had to send again."""
    scene.settle()
    scene.crowd.next_episode()
    time.sleep(scene.random.uniform(0.2, 2.0))
    began_at = time.monotonic()
    fault.strike(scene)
    over_at = time.monotonic() if fault.lasts or fault.outage else began_at
    back_at = scene.crowd.probe().result(HEARD_WITHIN_S)
    answers = fault.answers
    if answers is not None:
        wait_until(lambda: answers(scene), within_s=HEARD_WITHIN_S, what=f"the part itself is back after: {fault.name}")
        back_at = time.monotonic()
    recovery_s = back_at - over_at
    scene.settle()
    acknowledged = scene.crowd.memories()
    stored = scene.stored()
    episode = scene.crowd.next_episode()
    lost = scene.lost(acknowledged, stored)
    row.acknowledged += episode.acknowledged
    row.lost += len(lost)
    row.wrongly_expired += scene.newly_expired(stored)
    row.longest_wait_s = max(row.longest_wait_s, episode.longest_wait_s)
    row.recoveries_s.append(recovery_s)
    for trouble, count in episode.troubles.items():
        row.troubles[trouble] = row.troubles.get(trouble, 0) + count
    print(f"{fault.name}: answered again after {recovery_s:.1f} s, waited {episode.longest_wait_s:.1f} s at most: {dict(episode.troubles)}")
    assert not lost, lost[:20]
    assert not row.wrongly_expired, _expired(stored)
    assert not stored.problems, stored.problems
    assert not (wrong := scene.wrong_looks()), wrong
    assert not episode.undocumented, episode.undocumented[:5]
    if fault.unnoticed:
        assert not episode.troubles, episode.troubles
    if not fault.breaks_connections:
        assert not [trouble for trouble in episode.troubles if not trouble.startswith(("503", "429"))], episode.troubles
    return over_at - began_at if fault.outage else 0.0, episode.longest_wait_s


def _expired(stored: Stored) -> list[object]:
    """Return the first who expired, with their stories."""
    fallen = [
        (session.session_id, str(Liveness(session.liveness)), session.story_entries())
        for session in stored.sessions.values()
        if any(what == What.EXPIRED for _, what, _ in session.story_entries())
    ]
    return list(fallen[:5])
