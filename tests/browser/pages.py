"""
The pages that the tests open: one real player on one live stream, told of by our library or by CMCD, and what its element does written down.

Each page has the same few functions for whoever drives it (`begin`, `seek`, `change`, `another`, `quit`), whatever its player. What the element
says is kept in `seen`, with the time and whether it was paused; frames that were shown are counted by the browser itself.
"""

import json
from dataclasses import dataclass
from typing import Final

PLAYERS: Final = ("bare", "hls.js", "dash.js", "shaka", "shaka-debug")
WAYS: Final = ("library", "cmcd")

_SEEN: Final = """
const video = document.querySelector("video");
const seen = [];
const frames = [];
const see = (type, more = {}) => seen.push({ type, at: Date.now() / 1000, paused: video.paused, ended: video.ended, ready: video.readyState, ...more });
for (const type of ["play", "playing", "waiting", "pause", "seeking", "seeked", "ended", "emptied", "error"])
  video.addEventListener(type, () => see(type));
video.addEventListener("resize", () => see("resize", { height: video.videoHeight }));
const frame = (now) => { frames.push((performance.timeOrigin + now) / 1000); video.requestVideoFrameCallback(frame); };
video.requestVideoFrameCallback(frame);
addEventListener("pagehide", () => { see("pagehide"); navigator.sendBeacon("truth", JSON.stringify({ seen, frames })); });
addEventListener("pageshow", (event) => event.persisted && see("pageshow"));
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
"""

_LIBRARY: Final = """
const { Headcount } = await import(tracker + "/headcount.js");
const viewing = Headcount.track(video, { url: tracker, token, stream_id: stream, player });
"""

_MAKE: Final = {
    "bare": """
const player = undefined;
const load = async (name) => { video.src = name + "/film.mp4"; };
const away = () => {};
const change = () => {};
""",
    "hls.js": """
const player = new Hls({ liveSyncDurationCount: 3, startLevel: 0, abrEwmaDefaultEstimate: 1e6, cmcd });
player.attachMedia(video);
const load = async (name) => player.loadSource(name + "/live.m3u8");
const away = () => player.destroy();
const change = () => { player.nextLevel = player.currentLevel ? 0 : 1; };
""",
    "dash.js": """
const player = dashjs.MediaPlayer().create();
player.updateSettings({ streaming: { cmcd, abr: { autoSwitchBitrate: { video: false } } } });
player.initialize(video, undefined, false);
const load = async (name) => player.attachSource(new URL(name + "/live.mpd", location).href);
const away = () => player.destroy();
const change = () => player.setRepresentationForTypeByIndex("video", player.getCurrentRepresentationForType("video").index ? 0 : 1);
""",
    "shaka": """
const player = new shaka.Player();
await player.attach(video);
player.configure({ cmcd, abr: { enabled: false } });
const load = async (name) => player.load(name + "/live.mpd").catch((error) => {
  see("refused", { code: error.code, data: String(error.data ?? error) });
  globalThis.viewing?.error(true, { code: error.code });
});
const away = () => player.destroy();
const change = () => player.selectVariantTrack(player.getVariantTracks().find((each) => !each.active), true);
""",
}
_MAKE["shaka-debug"] = _MAKE["shaka"]

_CMCD: Final = {
    "hls.js": """
{ sessionId: session, contentId: stream, eventTargets: [{ url: target, version: 2, events: EVENTS, interval: 10 }] }
""",
    "dash.js": """
{ enabled: true, version: 2, sid: session, cid: stream, eventTargets: [{ enabled: true, url: target, events: EVENTS, interval: 10, timeInterval: 10, enabledKeys: KEYS }] }
""",
    "shaka": """
{ enabled: true, version: 2, sessionId: session, contentId: stream, eventTargets: [{ enabled: true, mode: "event", url: target, events: EVENTS, interval: 10, includeKeys: KEYS }] }
""",
}
_CMCD["shaka-debug"] = _CMCD["shaka"]
_EVENTS: Final = ["ps", "t", "e", "bc", "b", "pr", "c", "m", "um", "sk"]
_KEYS: Final = ["sid", "cid", "sta", "sn", "ts", "e", "br", "bl", "pr", "st", "sf", "bg", "ltc", "msd", "dfa", "ec", "v"]

_DRIVEN: Final = """
const seek = (seconds) => { video.currentTime += seconds; };
const another = async (name) => {
  see("another");
  globalThis.viewing?.set({ stream_id: name });
  await load("../" + name);
  video.play().catch(() => {});
};
const quit = async () => { see("quit"); await away(); video.removeAttribute("src"); video.load(); };
Object.assign(globalThis, { video, seen, frames, player, load, away, change, seek, another, quit });
globalThis.begin = async () => { await load("."); await video.play().catch(() => {}); };
globalThis.isReady = true;
"""


@dataclass(frozen=True)
class Told:
    """To whom a page tells what."""

    tracker: str
    token: str
    stream: str
    session: str


def page(player: str, way: str, told: Told) -> str:
    """Return the page of a player that tells a tracker what it does."""
    script = "" if player == "bare" else f'<script src="/player/{player}"></script>'
    given = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in vars(told).items())
    target = "const target = `${tracker}/cmcd?access_token=${token}&interval=10`;\n"
    cmcd = _CMCD[player].strip() if way == "cmcd" else "undefined"
    lists = f"const EVENTS = {json.dumps(_EVENTS)};\nconst KEYS = {json.dumps(_KEYS)};\n"
    made = (
        _MAKE[player].replace("cmcd", f"cmcd: {cmcd}", 1) if way == "cmcd" else _MAKE[player].replace(" cmcd,", "").replace(", cmcd ", " ")
    )
    counted = _LIBRARY.replace("const viewing", "globalThis.viewing") if way == "library" else ""
    return (
        f"<!doctype html><title>{player}</title><video muted playsinline width=320></video>{script}"
        f'<script type="module">\n{_SEEN}{given}{target}{lists}{made}{counted}{_DRIVEN}</script>'
    )
