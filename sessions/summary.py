"""A finished session, for other systems: what goes into the stream of the journal."""

from sessions.events import shown_id
from sessions.qoe import figures
from sessions.session import Session
from sessions.story import attributes


def summarise(session: Session, *, revision: int) -> dict[str, object]:
    """Return a session that ended or expired; the later revision of one session replaces the earlier. Opaque bytes as in `describe`."""
    return {
        "session_id": shown_id(session.session_id),
        "revision": revision,
        "outcome": str(session.liveness),
        **attributes(session),
        "created_at": session.created_at,
        "seen_at": session.seen_at,
        "account": figures(session),
        "profile": session.profile,
        "vitals": session.vitals,
        "farewell": b"" if session.own_ending is None else session.own_ending.farewell,
    }
