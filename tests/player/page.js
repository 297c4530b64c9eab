// A page without a browser: its clock, its element, and a tracker that answers as it is told. Time moves only when a test says so.

import { readFileSync } from "node:fs";

const source = new URL("../../player/headcount.min.js", import.meta.url);
let pages = 0;

const said = { "session/start": "heartbeat_interval_seconds", "session/heartbeat": "next_heartbeat_seconds" };
export const BEGAN = Date.parse("2026-11-28T12:00:00Z");
/** Lets what waits for promises go on. */
const settle = async () => {
  for (let turn = 0; turn < 40; turn++) await null;
};

/** What a browser makes a body of; the real one is read by another thread, in real time. */
class Text {
  constructor([written], { type }) {
    Object.assign(this, { written, type, size: Buffer.byteLength(written) });
  }
}

export class Video extends EventTarget {
  paused = true;
  ended = false;
  muted = false;
  volume = 1;
  currentTime = 0;
  readyState = 0;
  networkState = 2;
  seeking = false;
  src = "https://media.example/a.m3u8";
  currentSrc = "https://media.example/a.m3u8";
  videoHeight = 720;
  isConnected = true;
  error = null;
  buffered = { length: 1, start: () => 0, end: () => this.currentTime + 4.5 };

  says(type) {
    this.dispatchEvent(new Event(type));
  }

  asked() {
    this.paused = false;
    this.says("play");
  }

  shows() {
    this.readyState = 4;
    this.says("playing");
  }

  starves() {
    this.readyState = 2;
    this.says("waiting");
  }

  pauses() {
    this.paused = true;
    this.says("pause");
  }

  moves(seconds) {
    this.currentTime += seconds;
    this.says("timeupdate");
  }

  turnsTo(source) {
    this.src = source;
    this.paused = true;
    this.readyState = 0;
    this.says("emptied");
  }
}

/** Opens a page; `changes` replaces what is there, as hostile pages do. */
export const open = async (changes = {}) => {
  const page = {
    now: 1_000,
    wall: BEGAN - 1_000,
    timers: new Map(),
    number: 0,
    requests: [],
    beacons: [],
    warnings: [],
    stored: new Map(),
    /** What the tracker says: (request) → {status, body, headers}; undefined: nobody answers. */
    answers: undefined,
    interval: 30,
    async after(seconds) {
      const end = page.now + seconds * 1_000;
      for (;;) {
        let next;
        for (const [number, timer] of page.timers) if (timer.at <= end && (!next || timer.at < next[1].at)) next = [number, timer];
        if (!next) break;
        page.now = Math.max(page.now, next[1].at);
        page.timers.delete(next[0]);
        next[1].does();
        await settle();
      }
      page.now = end;
      await settle();
    },
    hides(hidden) {
      document.visibilityState = hidden ? "hidden" : "visible";
      document.dispatchEvent(new Event("visibilitychange"));
    },
    goes(persisted = false) {
      window.dispatchEvent(Object.assign(new Event("pagehide"), { persisted }));
    },
    returns() {
      window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
    },
    /** Bodies that were sent to a path, answered or not. */
    sent: (path) => page.requests.filter((each) => each.path === path).map((each) => each.body),
    starts: () => page.sent("session/start"),
    beats: () => page.sent("session/heartbeat"),
    ends: () => page.sent("session/end"),
    /** Each event once, by its id, in the order in which it was first sent. */
    events: () => [...new Map(page.sent("events").flatMap((body) => body.events).map((event) => [event.event_id, event])).values()],
    types: () => page.events().map((event) => event.event_type),
  };
  const take = (url, { written: text, type }, how) => {
    const { pathname, searchParams } = new URL(url);
    return { path: pathname.replace("/analytics/live/", ""), token: searchParams.get("access_token"), type, text, body: JSON.parse(text), at: page.now, ...how };
  };
  const usual = (request) => ({
    status: 200,
    body: { status: "success", data: { accepted: true, ...(said[request.path] && { [said[request.path]]: page.interval }) } },
  });
  const given = {
    Blob: Text,
    window: new EventTarget(),
    document: Object.assign(new EventTarget(), { visibilityState: "visible", fullscreenElement: null }),
    location: { pathname: "/watch" },
    screen: { width: 1_920, height: 1_080 },
    navigator: {
      sendBeacon: (url, body) => {
        page.beacons.push(take(url, body));
        return true;
      },
    },
    localStorage: {
      getItem: (key) => page.stored.get(key) ?? null,
      setItem: (key, value) => page.stored.set(key, value),
    },
    performance: { now: () => page.now },
    setTimeout: (does, wait = 0) => {
      page.timers.set(++page.number, { at: page.now + Math.max(0, wait), does });
      return page.number;
    },
    clearTimeout: (number) => page.timers.delete(number),
    fetch: async (url, { body, keepalive, signal, method }) => {
      const request = take(url, body, { keepalive, method });
      page.requests.push(request);
      const answer = (page.answers ?? usual)(request) ?? "nobody";
      if (answer === "usual") return given.answer(usual(request));
      if (answer === "never") return new Promise((_, fail) => signal.addEventListener("abort", () => fail(new Error("aborted"))));
      if (answer === "nobody") throw new TypeError("Failed to fetch");
      return given.answer(answer);
    },
    answer: ({ status, body = {}, headers = {} }) => ({
      status,
      headers: { get: (name) => headers[name] ?? null },
      json: async () => {
        if (typeof body === "string") throw new SyntaxError("no JSON");
        return body;
      },
    }),
    ...changes,
  };
  for (const [name, value] of Object.entries(given)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  Date.now = () => page.wall + page.now;
  console.warn = (...said) => page.warnings.push(said.join(" "));
  const { Headcount } = await import(`${source}?page=${++pages}`);
  page.track = (video, options) => Headcount.track(video, { url: "https://tracker.example/", token: "t", stream_id: "derby", ...options });
  page.Headcount = Headcount;
  page.settle = settle;
  return page;
};

export const unavailable = (after) => ({ status: 503, body: { status: "error", error: { code: "unavailable", message: "later" } }, headers: { "retry-after": after } });
export const size = () => readFileSync(source).length;
