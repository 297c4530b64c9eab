"""A page of another origin, in a real Chromium: it can send, and read every answer, the front door's own included."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.players import examples
from tests.browser.chromium import Browser
from tests.front_door import INGEST, OPS
from tests.haproxy import Door, local_door

EXAMPLE = Path(__file__).parents[2] / "docs/examples/player.html"
START = "/analytics/live/session/start"
HEARTBEAT = "/analytics/live/session/heartbeat"


class Page(BaseHTTPRequestHandler):
    """An empty page; `/isolated` isolates itself. `/player.html` is the example of the documents."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        if self.path == "/isolated":
            self.send_header("cross-origin-embedder-policy", "require-corp")
            self.send_header("cross-origin-opener-policy", "same-origin")
        self.end_headers()
        example = self.path.startswith("/player.html")
        self.wfile.write(EXAMPLE.read_bytes() if example else b"<!doctype html><title>player</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with local_door(tmp_path) as door:
        yield door


def session(door: Door, path: str) -> Any:
    """Return a session as operators see it, once it is there."""
    end = time.monotonic() + 10
    while True:
        answer = httpx.get(f"{door.url}{path}", headers={"authorization": f"Bearer {OPS}"})
        if answer.status_code == 200:
            return answer.json()
        assert time.monotonic() < end, f"nothing arrived: {answer.text}"
        time.sleep(0.05)


def script(door: Door, text: str, **values: object) -> str:
    given = {"door": door.url, "token": INGEST, **values}
    return "".join(f"const {name} = {json.dumps(value)}; " for name, value in given.items()) + text


POST = "const answer = await fetch(door + path, {method: 'POST', headers: {'content-type': 'application/json', authorization: 'Bearer ' + token}, body}); "
READ = "const said = await answer.json(); return [answer.status, answer.headers.get('retry-after'), said.error ? said.error.code : said.status];"


def test_a_page_reads_the_front_doors_own_503_and_when_to_try_again(chromium: Browser, site: str, door: Door) -> None:
    send = script(door, POST + READ, path=START, body=json.dumps(examples.START))
    assert chromium.run_on(f"{site}/player", send) == [200, None, "success"]
    door.lose_the_replica()
    assert chromium.run_on(f"{site}/another", send) == [503, "2", "unavailable"]


def test_a_beacon_of_a_json_blob_arrives(chromium: Browser, site: str, door: Door) -> None:
    send = "return navigator.sendBeacon(door + path + '?access_token=' + token, new Blob([body], {type: 'application/json'}));"
    body = json.dumps({**examples.HEARTBEAT, "session_id": "by-beacon"})
    assert chromium.run_on(f"{site}/player", script(door, send, path=HEARTBEAT, body=body)) is True
    assert session(door, "/v1/sessions/by-beacon")["playback"] == "playing"


def test_a_request_with_credentials_is_answered_to_the_page(chromium: Browser, site: str, door: Door) -> None:
    send = POST.replace("method:", "credentials: 'include', method:") + READ
    assert chromium.run_on(f"{site}/player", script(door, send, path=START, body=json.dumps(examples.START))) == [200, None, "success"]


@pytest.mark.parametrize("path", [HEARTBEAT + "/", "/analytics/live/nowhere", "/icon.gif/"])
def test_a_page_reads_that_there_is_nothing_there(chromium: Browser, site: str, door: Door, path: str) -> None:
    assert chromium.run_on(f"{site}/player", script(door, POST + READ, path=path, body="{}")) == [404, None, "not_found"]


def test_the_pixel_is_shown_on_a_page_that_isolates_itself(chromium: Browser, site: str, door: Door) -> None:
    show = (
        "if (!crossOriginIsolated) return 'not isolated'; const image = new Image(); image.src = door + '/icon.gif?type=play&v=film&p=zone&u=isolated'; "
        "return await new Promise(done => { image.onload = () => done('shown'); image.onerror = () => done('refused'); });"
    )
    assert chromium.run_on(f"{site}/isolated", script(door, show)) == "shown"
    assert session(door, "/v1/beacon-session?p=zone&v=film&u=isolated")["playback"] == "playing"


def test_a_beacon_to_the_pixel_is_the_pixel(chromium: Browser, site: str, door: Door) -> None:
    send = "return navigator.sendBeacon(door + '/icon.gif?type=play&v=film&p=zone&u=beacon');"
    assert chromium.run_on(f"{site}/player", script(door, send)) is True
    assert session(door, "/v1/beacon-session?p=zone&v=film&u=beacon")["playback"] == "playing"


def test_the_example_page_is_counted_by_the_client_library(chromium: Browser, site: str, door: Door) -> None:
    play = (
        "for (let waits = 0; waits < 400 && !document.querySelector('video')?.srcObject; waits++) await new Promise(r => setTimeout(r, 20)); "
        "await new Promise(r => setTimeout(r, 100)); await document.querySelector('video').play(); document.querySelector('#cheer').click(); "
        "for (let waits = 0; waits < 400 && document.querySelector('#session').value.includes(' '); waits++) await new Promise(r => setTimeout(r, 20)); "
        "await new Promise(r => setTimeout(r, 1000)); return document.querySelector('#session').value;"
    )
    name = chromium.run_on(f"{site}/player.html?url={door.url}&token={INGEST}&stream_id=example-page", play)
    shown = session(door, f"/v1/sessions/{name}")
    assert (shown["stream_id"], shown["program_id"], shown["account"]["played"]) == ("example-page", "clock", True)
