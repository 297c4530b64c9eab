"""
Live streams, made on the spot, from a server that can starve, slow and break a player.

ffmpeg makes two minutes of two qualities once; the server deals them out as if they were made now: a media segment is there when its time has
come. Each run has a folder of its own (`/r/RUN/`), and what is wrong with it is told of the run alone. It knows no tracker.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(sys.executable).parents[1] / "players"
FFMPEG: Final = FOLDER / "ffmpeg"
SCRIPTS: Final = {
    "hls.js": "hls.js/dist/hls.min.js",
    "dash.js": "dashjs/dist/modern/umd/dash.all.min.js",
    "shaka": "shaka-player/dist/shaka-player.compiled.js",
    "shaka-debug": "shaka-player/dist/shaka-player.compiled.debug.js",
}

SEGMENT_S: Final = 2
SECONDS: Final = 120
BEHIND_S: Final = 30
"""How much of a stream there was before its run began, and how far back it can be sought."""
LEAD_S: Final = 6
"""By how much the film for a bare element runs ahead of real time."""
_QUALITIES: Final = ((640, 360, 600, "avc1.42c01e"), (320, 180, 200, "avc1.42c00d"))


def make_stream(folder: Path) -> None:
    """Write both qualities' segments, each of which begins with a key frame."""
    high, low = _QUALITIES
    scaled = f"[0:v]split=2[a][b];[b]scale={low[0]}:{low[1]}[c]"
    source = ["-f", "lavfi", "-i", f"testsrc2=size={high[0]}x{high[1]}:rate=25", "-t", str(SECONDS), "-filter_complex", scaled]
    encoded = ["-map", "[a]", "-map", "[c]", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-profile:v", "baseline"]
    keyed = ["-g", "50", "-keyint_min", "50", "-sc_threshold", "0", f"-b:v:0 {high[2]}k -b:v:1 {low[2]}k"]
    pieces = ["-f", "dash", "-seg_duration", str(SEGMENT_S), "-use_template", "1", "-use_timeline", "0"]
    names = ["-init_seg_name", "$RepresentationID$-init.mp4", "-media_seg_name", "$RepresentationID$-$Number$.m4s"]
    rates = keyed.pop().split()
    command = [FFMPEG, "-y", "-hide_banner", "-loglevel", "error", *source, *encoded, *keyed, *rates, *pieces, *names, folder / "all.mpd"]
    subprocess.run(command, check=True, timeout=120)
    assert (folder / f"1-{SECONDS // SEGMENT_S}.m4s").exists()


@dataclass
class Run:
    """One page's streams, what is wrong with them, and what its element was seen to do."""

    page: str
    began_at: float = field(default_factory=time.time)
    starved: threading.Event = field(default_factory=threading.Event)
    """Set: media does not come, until it is cleared."""
    missing: bool = False
    """Media segments are not there: 404."""
    no_manifest: bool = False
    seen: list[dict[str, Any]] = field(default_factory=list)
    """Each a list of the element's events, told by pages that went."""

    def edge(self) -> int:
        """Return the number of the newest segment."""
        return min(SECONDS // SEGMENT_S, int((time.time() - self.began_at + BEHIND_S) / SEGMENT_S))


class Media:
    """The server's runs, and where it is."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://localhost:{port}"
        self.runs: dict[str, Run] = {}
        self.closing = False

    def open(self, name: str, page: str) -> Run:
        """Begin a run; its page is at `/r/NAME/page.html`."""
        self.runs[name] = Run(page)
        return self.runs[name]


@contextmanager
def media_server(folder: Path) -> Iterator[Media]:
    """Make the stream in `folder`, and serve it."""
    make_stream(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    media = Media(folder, server.server_port)
    server.media = media  # type: ignore[attr-defined]  # where each request finds it
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield media
    finally:
        media.closing = True
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        media: Media = self.server.media  # type: ignore[attr-defined]
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0] == "player":
            self._say("text/javascript", (FOLDER / "node_modules" / SCRIPTS[parts[1]]).read_bytes())
        elif parts[0] == "elsewhere":
            self._say("text/html", b"<!doctype html><title>elsewhere</title>")
        elif len(parts) > 2 and parts[1] in media.runs:
            with suppress(BrokenPipeError, ConnectionResetError):
                self._serve(media, media.runs[parts[1]], parts[2:])
        else:
            self._say("text/plain", b"", status=404)

    def do_POST(self) -> None:
        media: Media = self.server.media  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        media.runs[self.path.strip("/").split("/")[1]].seen.append(json.loads(body))
        self._say("text/plain", b"")

    def _serve(self, media: Media, run: Run, parts: list[str]) -> None:
        name = parts[-1]
        if name == "page.html":
            self._say("text/html", run.page.encode())
        elif name == "film.mp4":
            self._play(media, run)
        elif run.no_manifest and name.endswith((".m3u8", ".mpd")):
            self._say("text/plain", b"", status=404)
        elif name == "live.m3u8":
            lines = [
                f'#EXT-X-STREAM-INF:BANDWIDTH={kbps}000,RESOLUTION={w}x{h},CODECS="{codec}"\n{i}.m3u8'
                for i, (w, h, kbps, codec) in enumerate(_QUALITIES)
            ]
            self._say("application/vnd.apple.mpegurl", "\n".join(("#EXTM3U", *lines, "")).encode())
        elif name.endswith(".m3u8"):
            self._say("application/vnd.apple.mpegurl", _playlist(run, name.removesuffix(".m3u8")).encode())
        elif name == "live.mpd":
            self._say("application/dash+xml", _manifest(run).encode())
        elif name.endswith("-init.mp4"):
            self._say("video/mp4", (media.folder / name).read_bytes())
        else:
            self._serve_segment(media, run, name)

    def _serve_segment(self, media: Media, run: Run, name: str) -> None:
        number = int(name.partition("-")[2].removesuffix(".m4s"))
        while run.starved.is_set() and not media.closing:
            time.sleep(0.05)
        if run.missing or number > run.edge():
            self._say("text/plain", b"", status=404)
        else:
            self._say("video/mp4", (media.folder / name).read_bytes())

    def _play(self, media: Media, run: Run) -> None:
        """Send a film without an end, each segment when its time has come."""
        if run.no_manifest:
            self._say("text/plain", b"", status=404)
            return
        self.send_response(200)
        for header in (("content-type", "video/mp4"), ("connection", "close"), ("cache-control", "no-store")):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write((media.folder / "1-init.mp4").read_bytes())
        began, lost_s = time.monotonic(), 0.0
        for number in range(1, SECONDS // SEGMENT_S + 1):
            while not media.closing and (run.starved.is_set() or time.monotonic() - began - lost_s < number * SEGMENT_S - LEAD_S):
                time.sleep(0.05)
                lost_s += 0.05 if run.starved.is_set() else 0.0
            if media.closing or run.missing:
                break
            self.wfile.write((media.folder / f"1-{number}.m4s").read_bytes())
        self.close_connection = True

    def _say(self, kind: str, body: bytes, *, status: int = 200) -> None:
        self.send_response(status)
        for header in (("content-type", kind), ("content-length", str(len(body))), ("access-control-allow-origin", "*")):
            self.send_header(*header)
        if kind != "text/html":
            self.send_header("cache-control", "no-store")  # of a page it would keep it out of the back/forward cache
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _playlist(run: Run, quality: str) -> str:
    edge = run.edge()
    first = max(1, edge - BEHIND_S // SEGMENT_S + 1)
    pieces = [f"#EXTINF:{SEGMENT_S}.0,\n{quality}-{number}.m4s" for number in range(first, edge + 1)]
    head = (
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{SEGMENT_S}",
        f"#EXT-X-MEDIA-SEQUENCE:{first}",
        f'#EXT-X-MAP:URI="{quality}-init.mp4"',
    )
    return "\n".join((*head, *pieces, ""))


def _manifest(run: Run) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    began = datetime.fromtimestamp(run.began_at - BEHIND_S, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    pieces = f'<SegmentTemplate timescale="1" duration="{SEGMENT_S}" startNumber="1" initialization="$RepresentationID$-init.mp4" media="$RepresentationID$-$Number$.m4s"/>'
    each = "".join(
        f'<Representation id="{i}" bandwidth="{kbps}000" width="{w}" height="{h}" codecs="{codec}"/>'
        for i, (w, h, kbps, codec) in enumerate(_QUALITIES)
    )
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="dynamic" '
        f'availabilityStartTime="{began}" publishTime="{now}" minimumUpdatePeriod="PT8S" minBufferTime="PT2S" timeShiftBufferDepth="PT{BEHIND_S}S" '
        f'suggestedPresentationDelay="PT6S"><Period id="0" start="PT0S"><AdaptationSet mimeType="video/mp4" segmentAlignment="true" startWithSAP="1">{pieces}{each}'
        f'</AdaptationSet></Period><UTCTiming schemeIdUri="urn:mpeg:dash:utc:direct:2014" value="{now}"/></MPD>'
    )
