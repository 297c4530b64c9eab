"""Players that report by themselves, through the real front door: what real ones sent is counted, and what is wrong with others is told."""

from tests.integration.installation import Installation, wait_until
from tests.players.recordings import posts


def reported(tracker: Installation, body: bytes, *, query: str, token: bool = True) -> dict[str, str]:
    shown = f"access_token={tracker.ingest_token}&" if token else ""
    answer = tracker.request("POST", f"/cmcd?{shown}{query}", body=body, headers={"Origin": "https://page.example"})
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    return dict(part.split("=") for part in answer.headers["x-headcount"].split(";"))


def test_a_recorded_life_is_counted_on_its_stream_and_its_player_is_shown(tracker: Installation) -> None:
    for post in posts("hls-event-life"):
        told = reported(tracker, post.body, query="stream_id=cmcd-live&sid=cmcd-viewer")
        assert told == {"taken": "1", "repeated": "0", "ignored": "0"}
    for post in posts("hls-event-life"):
        assert reported(tracker, post.body, query="stream_id=cmcd-live&sid=cmcd-viewer")["taken"] == "0"

    def watching() -> object:
        return tracker.get("/v1/concurrency?stream_id=cmcd-live").json()["states"]["playing"]

    wait_until(lambda: watching() == 1, within_s=5, what="the session shows as playing")
    session = tracker.get("/v1/sessions/cmcd:cmcd-viewer").json()
    assert session["player"] == "hls.js"
    # Its element stalled for 6.7 s, and was paused for 5.0 s.
    assert abs(session["account"]["rebuffering_time_s"] - 6.7) < 0.5
    assert abs(session["account"]["paused_time_s"] - 5.0) < 0.5

    def row() -> tuple[int, int]:
        rows = tracker.get("/v1/players").json()["players"]
        return next(((each["sessions"], each["taken"]) for each in rows if each["player"] == "hls.js"), (0, 0))

    # Its first report does not tell yet which player it is.
    wait_until(lambda: row() == (1, 23), within_s=5, what=f"hls.js is shown with its reports: {row()}")


def test_a_player_that_is_set_up_wrongly_is_told_what_to_do(tracker: Installation) -> None:
    for post in posts("dash-event-default-interval-65s"):
        assert "without_sid" in reported(tracker, post.body, query="")
    assert reported(tracker, b'sid="x",e=t', query="", token=False)["unknown_token"] == "1"

    def remedies() -> str:
        rows = tracker.get("/v1/players").json()["players"]
        return " ".join(remedy for row in rows for remedy in row["remedies"])

    wait_until(lambda: "enabledKeys" in remedies() and "access_token" in remedies(), within_s=5, what="both remedies are told")
