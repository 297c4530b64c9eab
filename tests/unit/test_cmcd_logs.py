"""CMCD out of access logs, on the requests that real players made to a media server."""

import json

import pytest

from serve_app.cmcd.logs import Logged, read_log
from serve_app.cmcd.mapper import map_records
from serve_app.cmcd.reader import read_records
from serve_app.commands.cmcd_logs import batches
from sessions.changes import Policy
from sessions.qoe import figures
from sessions.session import Session
from sessions.states import Playback
from sessions.tracker import Tracker
from tests.players.recordings import HERE

T0 = 1_795_836_426.0
SAID = "br%3D%28510%29%2Cot%3Dav%2Csf%3Dh%2Csid%3D%22s-1%22%2Cst%3Dl%2Csta%3Dp%2Cv%3D2"
EXPECTED = 'br=(510),ot=av,sf=h,sid="s-1",st=l,sta=p,v=2,e=t,ts=1795836426000'


def logged(*lines: str) -> list[Logged | None]:
    return list(read_log(lines))


@pytest.mark.parametrize(
    "lines",
    [
        [f'203.0.113.9 - - [28/Nov/2026:03:27:06 +0000] "GET /live/v1.ts?x=1&CMCD={SAID} HTTP/1.1" 200 188000 "-" "Mozilla"'],
        [json.dumps({"time": "2026-11-28T03:27:06Z", "request": {"uri": f"/live/v1.ts?CMCD={SAID}", "status": 200}})],
        [json.dumps({"msec": "1795836426.000", "args": f"CMCD={SAID}"})],
        [
            "#Version: 1.0",
            "#Fields: date time cs-method cs-uri-stem cs-uri-query sc-status",
            f"2026-11-28 03:27:06 GET /live/v1.ts CMCD={SAID} 200",
        ],
        ["#Fields: date\ttime\tcs-uri-query", f"2026-11-28\t03:27:06\tx=1&CMCD={SAID}"],
    ],
    ids=["combined", "json", "json with arguments", "w3c", "w3c with tabs"],
)
def test_a_request_is_a_report_whatever_the_log(lines: list[str]) -> None:
    assert logged(*lines) == [Logged(T0, "s-1", EXPECTED)]


def test_keys_may_be_in_headers() -> None:
    headers = {"CMCD-Object": "br=510,ot=av", "CMCD-Session": 'sf=h,sid="s-1",st=l', "CMCD-Request": "su", "CMCD-Status": "-"}
    (by_json,) = logged(json.dumps({"timestamp": T0 * 1_000, "request_headers": headers}))
    assert by_json == Logged(T0, "s-1", 'br=510,ot=av,sf=h,sid="s-1",st=l,su,e=t,ts=1795836426000')
    (by_w3c,) = logged("#Fields: date time cs(CMCD-Session)", '2026-11-28 03:27:06 sf=h,sid="s-1",st=l')
    assert by_w3c is not None
    assert by_w3c.sid == "s-1"


def test_the_bitrate_of_sound_alone_is_not_what_is_seen() -> None:
    (sound,) = logged(json.dumps({"time": T0, "url": "/a.m4s?CMCD=br%3D64%2Cot%3Da%2Csid%3D%22s%22"}))
    assert sound is not None
    assert sound.line == 'ot=a,sid="s",e=t,ts=1795836426000'


@pytest.mark.parametrize(
    "line",
    [
        '203.0.113.9 - - [28/Nov/2026:03:27:06 +0000] "GET /live/v1.ts HTTP/1.1" 200 1',
        '203.0.113.9 - - [28/Nov/2026:03:27:06 +0000] "GET /v1.ts?CMCD=br%3D510 HTTP/1.1" 200 1',
        f'203.0.113.9 - - [99/Nov/2026:03:27:06 +0000] "GET /v1.ts?CMCD={SAID} HTTP/1.1" 200 1',
        f'"GET /v1.ts?CMCD={SAID} HTTP/1.1"',
        "{",
        "[1]",
        json.dumps({"time": "soon", "url": f"/v1.ts?CMCD={SAID}"}),
        json.dumps({"time": True, "url": f"/v1.ts?CMCD={SAID}"}),
    ],
)
def test_a_line_without_keys_an_id_or_a_time_says_nothing(line: str) -> None:
    assert logged(line) == [None]


def counted(name: str) -> tuple[Session, int]:
    """Return the session that a recording of requests makes, a minute late, and how many requests said something."""
    lines = [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text("utf-8").splitlines()]
    log = [
        json.dumps({"time": T0 + each["at_ms"] / 1_000, "url": each["path"], "headers": each.get("headers", {})})
        for each in lines
        if each.get("path")
    ]
    found = [each for each in read_log(log) if each is not None]
    tracker = Tracker(7, policy=Policy())
    for reports in map_records(read_records("\n".join(each.line for each in found).encode()), {}, target=1, now=T0).reports:
        tracker.receive(reports, now=T0 + 120)
    tracker.validate()
    (session,) = tracker.sessions.values()
    return session, len(found)


@pytest.mark.parametrize("name", sorted(file.stem for file in HERE.glob("*-request-*.jsonl")))
def test_every_player_in_request_mode_is_one_session_that_watches(name: str) -> None:
    session, requests = counted(name)
    assert requests > 3
    assert session.playback is Playback.PLAYING
    # Only the second version of CMCD tells a state, and Shaka's shipped build not even then.
    assert (session.blind_player is None) == ("v2" in name and "shaka" not in name)
    if session.blind_player is None:
        assert figures(session)["playing_time_s"] > 3  # type: ignore[operator]


def test_lines_are_posted_together_up_to_a_bound() -> None:
    one = Logged(T0, "s", "e=t")
    assert [(len(batch), lines) for batch, lines in batches([*[one] * 450, None])] == [(200, 200), (200, 200), (50, 51)]
    assert list(batches([])) == []
