"""The live page of a running tracker, in a real Chromium: what it shows is what is there, soon, and again after whatever breaks."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from serve_app.players import examples
from tests.browser.chromium import FOLDER, Browser, Tab
from tests.integration.installation import Installation

AXE = FOLDER / "axe.min.js"
START = "/analytics/live/session/start"
HEARTBEAT = "/analytics/live/session/heartbeat"
END = "/analytics/live/session/end"


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("tracker"), settings={"REPLICAS": "2"})
    try:
        installation.start()
        yield installation
    finally:
        installation.clean_up()


def link(tracker: Installation) -> str:
    return f"{tracker.url}/#token={quote(tracker.ops_token)}"


class Viewers:
    """Sessions of one stream."""

    def __init__(self, tracker: Installation) -> None:
        self.stream = f"film-{uuid4().hex[:8]}"
        self.sessions: list[str] = []
        self._player = httpx.Client(base_url=tracker.url, headers={"authorization": f"Bearer {tracker.ingest_token}"}, timeout=15)

    def send(self, path: str, example: dict[str, object], session_id: str, **more: object) -> None:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {**deepcopy(example), "session_id": session_id, "timestamp": stamp, **more}
        self._player.post(path, json=body).raise_for_status()

    def join(self) -> None:
        self.sessions.append(uuid4().hex)
        self.send(HEARTBEAT, examples.HEARTBEAT, self.sessions[-1], stream_id=self.stream)

    def leave(self) -> None:
        self.send(END, examples.END, self.sessions.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self.sessions:
            self.leave()


SHOWN = "document.getElementById('sessions').textContent"


def shows(tab: Tab, sessions: int, *, within_s: float = 20.0) -> None:
    tab.until(f"{SHOWN} === '{sessions}'", within_s=within_s)


def test_the_link_of_make_up_opens_the_page_and_the_number_moves(chromium: Browser, tracker: Installation) -> None:
    with chromium.tab(link(tracker)) as tab, Viewers(tracker) as viewers:
        shows(tab, 0)
        assert tab.run("return [location.hash, document.documentElement.innerHTML.includes('ops.token')]") == ["", True]
        for sessions in (1, 2, 3):
            viewers.join()
            shows(tab, sessions)
        row = tab.until(
            f"[...document.querySelectorAll('#rows tr')].find(row => row.cells[0].textContent === '{viewers.stream}')?.innerText"
        )
        assert row.split()[:4] == [viewers.stream, "3", "3", "0"]
        viewers.leave()
        shows(tab, 2)
        assert tab.until("document.getElementById('connection').dataset.is === 'live'")
        assert tab.complaints == []


def test_nothing_comes_from_elsewhere_and_all_of_it_weighs_little(chromium: Browser, tracker: Installation) -> None:
    with chromium.tab(link(tracker)) as tab:
        shows(tab, 0)
        loaded = tab.run("return performance.getEntriesByType('resource').map(one => [one.name, one.encodedBodySize])")
    assert {name.startswith(tracker.url + "/") for name, _ in loaded} == {True}
    assert sum(size for _, size in loaded) < 120_000


def test_without_a_token_the_page_asks_and_a_wrong_one_opens_nothing(chromium: Browser, tracker: Installation) -> None:
    type_in = "document.getElementById('token').value = {}; document.querySelector('#ask button').click();"
    with chromium.tab(tracker.url + "/") as tab:
        tab.until("!document.getElementById('ask').hidden")
        assert tab.complaints == []
        tab.run(type_in.format(json.dumps(tracker.ingest_token)))
        tab.until("document.getElementById('refused').textContent.includes('opens nothing')")
        tab.run(type_in.format(json.dumps(tracker.ops_token)))
        shows(tab, 0)
        assert tab.run("return document.getElementById('ask').hidden")
        # It is kept for the tab.
        tab.call("Page.reload")
        tab.until("document.readyState === 'complete' && performance.now() < 5000")
        shows(tab, 0)


def test_a_click_leads_from_a_stream_to_its_sessions_and_from_one_of_them_to_its_story_in_words(
    chromium: Browser, tracker: Installation
) -> None:
    with chromium.tab(link(tracker)) as tab, Viewers(tracker) as viewers, Viewers(tracker) as others:
        others.join()
        viewers.join()
        viewers.join()
        session_id = viewers.sessions[0]
        row = f"[...document.querySelectorAll('#rows button')].find(one => one.textContent === '{viewers.stream}')"
        tab.until(row + " !== undefined")
        tab.run(row + ".click()")
        tab.until("document.querySelectorAll('#found tbody tr').length === 2")
        tab.run(f"[...document.querySelectorAll('#found button')].find(one => one.textContent === '{session_id}').click()")
        told = tab.until("document.querySelector('#told .told')?.innerText")
        assert session_id in told
        assert "Counted provisionally (its start never arrived) as playing" in told
        assert f"stream {viewers.stream}" in told
        tab.run(
            "document.getElementById('by').value = 'session_id'; document.getElementById('wanted').value = 'nobody';"
            "document.querySelector('#find button').click();"
        )
        tab.until("document.getElementById('told').innerText.startsWith('no session has this id')")


def test_the_chart_is_read_by_keyboard(chromium: Browser, tracker: Installation) -> None:
    with chromium.tab(link(tracker)) as tab, Viewers(tracker) as viewers:
        viewers.join()
        shows(tab, 1)
        tab.run("document.getElementById('states').focus()")
        for _ in range(2):
            tab.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft", code="ArrowLeft", windowsVirtualKeyCode=37)
        assert "sessions" in tab.until("document.getElementById('read').textContent")


def test_from_beat_to_pixel_takes_at_most_a_second_and_a_half(chromium: Browser, tracker: Installation) -> None:
    watch = (
        "window.seen = {}; new MutationObserver(() => requestAnimationFrame(() => { window.seen[" + SHOWN + "] ??= Date.now(); }))"
        ".observe(document.getElementById('sessions'), {childList: true, characterData: true, subtree: true});"
    )
    with chromium.tab(link(tracker)) as tab, Viewers(tracker) as viewers:
        shows(tab, 0)
        tab.run(watch)
        took = []
        for sessions in range(1, 13):
            time.sleep(0.13)  # so that they come at all phases of a second
            sent_at = time.time()
            viewers.join()
            shows(tab, sessions)
            took.append(tab.run(f"return window.seen['{sessions}']") / 1_000 - sent_at)
        assert max(took) <= 1.5, sorted(took)


def test_after_a_replica_was_killed_the_page_comes_back_by_itself_and_says_so(chromium: Browser, tracker: Installation) -> None:
    with chromium.tab(link(tracker)) as tab, Viewers(tracker) as viewers:
        viewers.join()
        shows(tab, 1)
        tab.run("window.states = []; new MutationObserver(() => window.states.push(document.getElementById('connection').dataset.is))"
                ".observe(document.getElementById('connection'), {attributes: true})")  # fmt: skip
        replicas = [process for process in Path("/proc").glob("[0-9]*") if b"ServeReplica" in _command(process)]
        ours = [process for process in replicas if str(tracker.folder).encode() in _environment(process)]
        assert len(ours) == 2, [_command(process) for process in replicas]
        for process in ours:
            os.kill(int(process.name), signal.SIGKILL)
        tab.until("window.states.includes('lost')", within_s=25)
        tab.until("document.getElementById('connection').textContent.includes('came back')", within_s=25)
        shows(tab, 1)


def test_after_the_exporter_was_killed_the_page_says_since_when_it_knows_and_keeps_what_it_saw(
    chromium: Browser, tracker: Installation
) -> None:
    with chromium.tab(link(tracker)) as tab, Viewers(tracker) as viewers:
        viewers.join()
        shows(tab, 1)
        before = tab.run("return document.getElementById('connection').textContent")
        (exporter,) = [
            process
            for process in Path("/proc").glob("[0-9]*")
            if _command(process).startswith(b"ray::Exporter") and str(tracker.folder).encode() in _environment(process)
        ]
        os.kill(int(exporter.name), signal.SIGKILL)
        now = f"document.getElementById('connection').textContent.startsWith('Live') && {SHOWN} === '1'"
        tab.until(f"{now} && document.getElementById('connection').textContent !== {json.dumps(before)}", within_s=25)
        # Once, or more often if the first answer still came from the time without an exporter.
        assert "came back" in tab.run("return document.getElementById('connection').textContent")


HOUR = """
    const states = ['playing'], picture = (life, lines) => ({life, since: lines[0][0], states_in_order: states, watching_states: states, spark_s: 5,
        sparks_max: 3, seconds_max: 100, quality_s: 300, lines, now: {sessions: 1, streams: {a: [1]}, sparks: {a: [1]}}});
    const {Model} = await import('/page/model.js'), model = new Model();
"""


def test_the_page_keeps_what_an_exporter_before_told_and_forgets_what_is_an_hour_old(chromium: Browser, tracker: Installation) -> None:
    with chromium.tab(link(tracker)) as tab:
        told = tab.run(HOUR + """
            const seen = () => [model.lines.map(line => line[0]), Object.keys(model.now.streams), model.now.sparks];
            model.take('picture', picture('one', [[10, 5, 1, 0], [11, 6, 1, 0]]));
            model.take('change', {lines: [[15, 7, 2, 1]], streams: {b: [6]}});
            const first = structuredClone(seen()), moved = model.moved(4);
            model.take('picture', picture('two', [[40, 1, null, null]]));
            const second = structuredClone(seen());
            model.take('change', {lines: [[111, 2, 0, 0]], gone: ['a']});
            return [first, moved, second, seen()];
        """)  # fmt: skip
    assert told == [
        # A course has a point for five seconds: 15 is the first of its five.
        [[10, 11, 15], ["a", "b"], {"a": [1, 1], "b": [6]}],
        [2, 1],
        [[10, 11, 15, 40], ["a"], {"a": [1]}],
        [[15, 40, 111], [], {}],
    ]


def test_a_gap_in_the_data_is_drawn_as_a_gap(chromium: Browser, tracker: Installation) -> None:
    with chromium.tab(link(tracker)) as tab:
        playing, gap, missing = tab.run("""
            const {drawStates} = await import('/page/draw.js'), canvas = document.body.appendChild(document.createElement('canvas'));
            canvas.style.cssText = 'width: 640px; height: 200px; position: fixed; top: 0; left: 0';
            const lines = [];
            for (let at = 0; at <= 100; at++) if (at < 40 || at > 60) lines.push([at, 10, 0, 0]);
            drawStates(canvas, {lines, from: 0, to: 100, states: ['playing'], order: ['playing'], cursor: null});
            const colour = share => [...canvas.getContext('2d').getImageData(44 + (640 - 48) * share, 150, 1, 1).data].join();
            const probe = document.createElement('canvas').getContext('2d'), wanted = name => {
                probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--' + name); probe.fillRect(0, 0, 1, 1);
                return [...probe.getImageData(0, 0, 1, 1).data].join(); };
            return [[colour(0.2), colour(0.8), wanted('playing')], [colour(0.5), wanted('gap')], colour(0.385) === colour(0.5)];
        """)  # fmt: skip
    assert len(set(playing)) == 1
    assert len(set(gap)) == 1
    assert missing is False
    assert playing[0] != gap[0]


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_keeps_anybody_out_of_the_page(chromium: Browser, tracker: Installation, dark: bool) -> None:
    if not AXE.exists():
        pytest.skip("no axe-core: make .venv/.browser says why")
    run = "const found = await axe.run(document, {resultTypes: ['violations']}); "
    told = run + "return found.violations.map(one => [one.id, one.nodes.map(node => node.html + ' ' + node.failureSummary)]);"
    with chromium.tab(tracker.url + "/", dark=dark) as tab:
        tab.until("!document.getElementById('ask').hidden")
        tab.call("Runtime.evaluate", expression=AXE.read_text())
        assert tab.run(told) == []
    with chromium.tab(link(tracker), dark=dark) as tab, Viewers(tracker) as viewers:
        viewers.join()
        shows(tab, 1)
        row = f"[...document.querySelectorAll('#rows button')].find(one => one.textContent === '{viewers.stream}')"
        tab.until(row + " !== undefined")
        tab.run(row + ".click()")
        tab.until("document.querySelectorAll('#found tbody tr').length === 1")
        tab.run("document.querySelector('#found tbody button').click()")
        tab.until("document.querySelector('#told .told') !== null")
        tab.call("Runtime.evaluate", expression=AXE.read_text())
        assert tab.run(told) == []


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1_280, 900), (3_840, 2_160)])
def test_the_page_fits_a_telephone_and_a_wall(chromium: Browser, tracker: Installation, width: int, height: int) -> None:
    with chromium.tab(link(tracker), width=width, height=height) as tab:
        shows(tab, 0)
        assert tab.run("return document.documentElement.scrollWidth") <= width


def test_nothing_jumps_once_the_page_is_there(chromium: Browser, tracker: Installation) -> None:
    watch = (
        "window.jumped = 0; new PerformanceObserver(list => list.getEntries().forEach(one => { window.jumped += one.value; }))"
        ".observe({type: 'layout-shift', buffered: false});"
    )
    with chromium.tab(link(tracker)) as tab, ExitStack() as stack:
        shows(tab, 0)
        tab.run(watch)
        crowd = [stack.enter_context(Viewers(tracker)) for _ in range(6)]
        for viewers in crowd:
            viewers.join()
        shows(tab, 6)
        assert tab.run("return window.jumped") == 0
