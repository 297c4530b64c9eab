// What comes in between: outages, hidden and frozen pages, those that go and return, and pages that mean no good.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BEGAN, Video, open, unavailable } from "./page.js";

const watching = async (changes, options) => {
  const page = await open(changes);
  const video = new Video();
  const tracked = page.track(video, options);
  video.asked();
  video.shows();
  await page.after(1);
  return { page, video, tracked };
};
const seconds = (stamp) => (Date.parse(stamp) - BEGAN) / 1_000;
const gaps = (values) => values.slice(1).map((value, index) => value - values[index]);

test("heartbeats come when the server says, and those of a whole audience are spread", async () => {
  const firsts = new Set();
  for (let viewer = 0; viewer < 20; viewer++) {
    const { page } = await watching();
    await page.after(300);
    const stamps = page.beats().map((beat) => seconds(beat.timestamp));
    assert.ok(stamps[0] >= 15 && stamps[0] <= 31, `the first within the interval, spread over half of it: ${stamps[0]}`);
    for (const gap of gaps(stamps)) assert.ok(gap >= 26 && gap <= 31, `within the interval, and not much sooner: ${gap}`);
    firsts.add(Math.round(stamps[0]));
  }
  assert.ok(firsts.size > 5, `20 viewers that began at once beat in ${firsts.size} different seconds`);
});

test("a stretched interval is kept to", async () => {
  const { page } = await watching();
  page.interval = 120;
  await page.after(60);
  const before = page.beats().length;
  await page.after(600);
  assert.ok(page.beats().length - before <= 6, `${page.beats().length - before} beats in 600 s at 120 s`);
});

test("a hidden page whose timers sleep goes on telling as long as it plays", async () => {
  const { page, video } = await watching();
  page.hides(true);
  const sleeping = page.timers;
  page.timers = new Map();
  for (let second = 0; second < 300; second++) {
    await page.after(1);
    video.moves(1);
    await page.settle();
    page.timers.clear();
  }
  assert.ok(sleeping.size > 0, "there were timers that slept");
  assert.ok(page.beats().length >= 9, `${page.beats().length} beats in 300 s without a timer`);
  assert.ok(page.requests.at(-1).keepalive, "what a hidden page sends may outlive it");
});

test("after an outage everything that happened is told once more, in its order, and one heartbeat: what is then", async () => {
  const { page, video } = await watching();
  page.answers = () => undefined;
  video.starves();
  await page.after(20);
  video.shows();
  await page.after(20);
  video.pauses();
  await page.after(20);
  const from = page.requests.length;
  page.answers = undefined;
  await page.after(30);
  const told = page.requests.slice(from);
  const events = told.filter((each) => each.path === "events").flatMap((each) => each.body.events);
  assert.deepEqual(events.map((event) => [event.event_type, seconds(event.timestamp)]), [["stream_buffer_start", 1], ["stream_buffer_end", 21]]);
  const beats = told.filter((each) => each.path === "session/heartbeat");
  assert.equal(seconds(beats[0].body.timestamp), 41, "the pause, when it was");
  for (const beat of beats.slice(1)) assert.ok((beat.at - 1_000) / 1_000 - seconds(beat.body.timestamp) < 1, "no regular heartbeat is older than its sending");
  assert.ok(beats.length <= 3);
  const ids = page.sent("events").flatMap((body) => body.events).map((event) => event.event_id);
  assert.ok(new Set(ids).size < ids.length, "what was sent again kept its id");
});

test("Retry-After is waited for, and what happens meanwhile does not hurry it", async () => {
  const { page, video } = await watching();
  page.answers = () => unavailable("20");
  video.pauses();
  await page.after(1);
  const from = page.requests.length;
  video.asked();
  video.shows();
  await page.after(18);
  assert.equal(page.requests.length, from);
  await page.after(10);
  assert.equal(page.requests.length, from + 1);
});

test("repeats come ever more rarely, spread by chance, and at least every 20 s", async () => {
  const waits = new Set();
  for (let viewer = 0; viewer < 5; viewer++) {
    const { page, video } = await watching();
    const from = page.requests.length;
    page.answers = () => undefined;
    video.pauses();
    await page.after(120);
    const between = gaps(page.requests.slice(from).map((each) => each.at / 1_000));
    assert.ok(between[0] <= 1.1);
    assert.ok(Math.max(...between) <= 20.1);
    assert.ok(between.length < 16, `${between.length} attempts in two minutes`);
    waits.add(between[0]);
  }
  assert.equal(waits.size, 5);
});

test("an answer that never comes is given up, and asked for again", async () => {
  const { page, video } = await watching();
  page.answers = () => "never";
  video.pauses();
  await page.after(60);
  const attempts = page.beats().length;
  assert.ok(attempts >= 2 && attempts <= 5, `${attempts} attempts in a minute of 15 s each`);
  page.answers = undefined;
  await page.after(30);
  video.asked();
  video.shows();
  await page.after(1);
  assert.equal(page.beats().at(-1).playback.is_playing, true);
});

test("a page that answers for the network is not taken for the tracker", async () => {
  const page = await open();
  page.answers = () => ({ status: 200, body: "<html>log in to the hotel</html>" });
  const video = new Video();
  page.track(video);
  video.asked();
  await page.after(30);
  page.answers = undefined;
  await page.after(30);
  assert.ok(page.starts().length > 2, "it is told until the tracker has heard it");
});

test("what is refused for good is dropped with one warning, and the rest goes on", async () => {
  const { page, tracked } = await watching();
  page.answers = (request) => (request.path === "events" ? { status: 422, body: { error: { message: "session_id is wrong" } } } : "usual");
  tracked.reaction();
  await page.after(1);
  tracked.share();
  await page.after(1);
  assert.deepEqual(page.warnings, ["headcount: session_id is wrong"]);
  assert.equal(page.sent("events").length, 3, "each once");
});

test("a token that ran out is asked for anew, and nothing is lost", async () => {
  const page = await open();
  const tokens = ["old", "old", "new"];
  page.answers = (request) => (request.token === "new" ? "usual" : { status: 401, body: { error: { message: "expired" } } });
  const video = new Video();
  page.track(video, { token: async () => tokens.shift() ?? "new" });
  video.asked();
  video.shows();
  await page.after(30);
  assert.equal(page.requests.filter((each) => each.path === "session/start" && each.token === "new").length, 1);
  assert.ok(page.types().includes("stream_start"));
});

test("the server asks for a start that it never heard, and gets the first one", async () => {
  const { page } = await watching();
  let asks = true;
  page.answers = (request) => {
    if (request.path === "session/start") asks = false;
    return { status: 200, body: { data: { accepted: true, next_heartbeat_seconds: 30, ...(asks && request.path !== "session/start" && { start_wanted: true }) } } };
  };
  await page.after(60);
  assert.equal(page.starts().length, 2);
  assert.deepEqual(page.starts()[0], page.starts()[1]);
});

test("a viewing that somebody else ended goes on as another one, and not again and again", async () => {
  const { page, tracked } = await watching();
  const first = tracked.session_id();
  page.answers = (request) => (request.path === "session/start" ? "usual" : { status: 200, body: { data: { accepted: false, reason: "session_ended" } } });
  await page.after(50);
  assert.notEqual(tracked.session_id(), first);
  assert.equal(page.starts().length, 2);
});

test("a page that goes says so by beacon, the end last; one that returns says it again and begins anew", async () => {
  const { page, video, tracked } = await watching();
  const first = tracked.session_id();
  video.pauses();
  page.goes(true);
  const beacons = page.beacons;
  assert.deepEqual(beacons.map((each) => each.path), ["session/heartbeat", "session/end"]);
  assert.deepEqual([beacons[1].type, beacons[1].token, beacons[1].body.session_id], ["text/plain", "t", first]);
  page.now += 600_000;
  video.paused = false;
  page.returns();
  await page.after(1);
  assert.equal(page.ends()[0].session_id, first, "a beacon has no answer");
  assert.equal(page.starts().length, 2);
  assert.notEqual(page.starts()[1].session_id, first);
  assert.ok(page.beats().at(-1).playback.is_playing);
});

test("an element that is heard while its page goes is not counted again", async () => {
  const { page, video } = await watching();
  page.goes(true);
  video.moves(0.1);
  await page.after(1);
  assert.equal(page.starts().length, 1);
});

test("a page that did not go after all is counted again", async () => {
  const { page, video } = await watching();
  page.goes();
  for (let second = 0; second < 5; second++) {
    await page.after(1);
    video.moves(1);
  }
  await page.after(1);
  assert.equal(page.starts().length, 2);
});

test("a page that is frozen says a last word, and speaks at once when it thaws", async () => {
  const { page, video } = await watching();
  video.pauses();
  await page.after(1);
  document.dispatchEvent(new Event("freeze"));
  const [word] = page.beacons;
  assert.equal(word.path, "session/heartbeat");
  const before = page.beats().length;
  page.now += 900_000;
  document.dispatchEvent(new Event("resume"));
  await page.after(1);
  assert.ok(page.beats().length > before);
  assert.equal(page.starts().length, 1);
});

test("without sendBeacon a page that goes is heard all the same", async () => {
  const { page, tracked } = await watching({ navigator: {} });
  const id = tracked.session_id();
  page.goes();
  await page.settle();
  assert.deepEqual([page.ends()[0].session_id, page.requests.at(-1).keepalive], [id, true]);
});

test("what a page may send when it goes is not exceeded, and the end is in it", async () => {
  const { page, tracked } = await watching();
  page.answers = () => undefined;
  for (let event = 0; event < 200; event++) tracked.event("reaction", { words: "x".repeat(900) });
  page.goes();
  const beacons = page.beacons;
  assert.ok(beacons.reduce((sum, each) => sum + each.text.length, 0) < 60_000);
  assert.equal(beacons.at(-1).path, "session/end");
});

test("hours without a tracker fill no memory: events are kept up to a bound, old news is dropped", async () => {
  const { page, video, tracked } = await watching();
  page.answers = () => undefined;
  for (let minute = 0; minute < 120; minute++) {
    for (let event = 0; event < 10; event++) tracked.reaction();
    video.pauses();
    await page.after(30);
    video.asked();
    video.shows();
    await page.after(30);
  }
  const from = page.requests.length;
  page.answers = undefined;
  await page.after(60);
  const told = page.requests.slice(from);
  const events = new Set(told.filter((each) => each.path === "events").flatMap((each) => each.body.events.map((event) => event.event_id)));
  assert.ok(events.size > 200 && events.size <= 300, `${events.size} events`);
  assert.ok(told.length < 80, `${told.length} requests when it is back`);
});

test("who is blocked is silent: nothing is thrown or written, and ever less is tried", async () => {
  const page = await open();
  page.answers = () => undefined;
  const video = new Video();
  page.track(video);
  video.asked();
  video.shows();
  await page.after(300);
  const soon = page.requests.length;
  await page.after(3_300);
  assert.ok(page.requests.length - soon < 25, `${page.requests.length - soon} attempts in the rest of an hour`);
  assert.deepEqual(page.warnings, []);
});

const thrower = () => {
  throw new Error("SecurityError");
};
const hostile = {
  "denies storage": { localStorage: { getItem: thrower, setItem: thrower } },
  "has no storage": { localStorage: null },
  "has no randomUUID": { crypto: {} },
  "refuses to fetch at once": { fetch: thrower },
  "has no fetch": { fetch: undefined },
  "refuses beacons": { navigator: { sendBeacon: thrower } },
  "sends no beacon": { navigator: { sendBeacon: () => false } },
  "has no screen": { screen: undefined },
};
for (const [what, changes] of Object.entries(hostile)) {
  test(`nothing is thrown into a page that ${what}`, async () => {
    const { page, video, tracked } = await watching(changes);
    video.starves();
    await page.after(100);
    video.shows();
    tracked.reaction();
    page.hides(true);
    page.goes(true);
    page.returns();
    tracked.stop();
    await page.after(100);
    assert.deepEqual(page.warnings, []);
  });
}

test("nothing is thrown for what a page gets wrong, and each is said once", async () => {
  const page = await open();
  for (const wrong of [null, undefined, {}, 7]) {
    const tracked = page.track(wrong);
    for (const name of ["session_id", "set", "start", "end", "stop", "event", "error", "chat", "reaction", "ad_start"]) assert.equal(tracked[name]({}), undefined);
  }
  assert.deepEqual(page.warnings, ["headcount: there is no video element"]);
  const video = new Video();
  const tracked = page.Headcount.track(video);
  video.asked();
  video.shows();
  tracked.reaction();
  await page.after(100);
  assert.equal(page.requests.length, 0);
  assert.equal(page.warnings.at(-1), "headcount: url and stream_id are needed");
});

test("nothing is thrown for events that cannot be written, nor for players and options that throw", async () => {
  const circle = {};
  circle.circle = circle;
  const { page, tracked } = await watching({}, { player: thrower, country: thrower });
  tracked.reaction(circle);
  tracked.reaction({ big: 1n });
  tracked.reaction({ long: "x".repeat(5_000) });
  await page.after(1);
  assert.equal(page.starts().length, 0, "an option that throws costs the viewing: there is nothing to say");
  const other = await watching({}, { player: thrower });
  other.tracked.reaction(circle);
  await other.page.after(1);
  assert.deepEqual([other.page.types().at(-1), other.page.events().at(-1).metadata], ["reaction", undefined]);
});

test("no number that is none leaves the page", async () => {
  const wild = [NaN, -1, Infinity, -Infinity, "7", null, 1e300];
  for (const value of wild) {
    const { page, video } = await watching({}, { player: () => ({ bitrate_kbps: value, latency_s: value, dvr_offset_s: value }) });
    video.volume = NaN;
    video.pauses();
    await page.after(40);
    for (const beat of page.beats()) {
      assert.deepEqual(
        [beat.performance.bitrate_kbps, beat.performance.latency_ms, beat.playback.dvr_offset_seconds, beat.playback.volume_level],
        [undefined, undefined, undefined, undefined],
        String(value),
      );
    }
    for (const each of page.requests) assert.ok(!/null|NaN|:-\d/.test(each.text), each.text);
  }
});

test("whoever asks for privacy has no id that outlives a viewing", async () => {
  const stored = [];
  const { page, video, tracked } = await watching(
    { navigator: { globalPrivacyControl: true, sendBeacon: () => true }, localStorage: { getItem: () => null, setItem: (...given) => stored.push(given) } },
    { user_id: "somebody", device_id: "their-phone" },
  );
  tracked.end();
  video.asked();
  await page.after(1);
  const [first, second] = page.starts();
  assert.equal(page.starts().length, 2);
  assert.notEqual(first.device_id, second.device_id);
  for (const each of page.requests) assert.ok(!/somebody|their-phone|watch"|1920/.test(each.text), each.text);
  assert.deepEqual(stored, []);
});

test("a device has one id on all its pages", async () => {
  const { page } = await watching();
  const again = await open({ localStorage: { getItem: (key) => page.stored.get(key) ?? null, setItem: () => {} } });
  const video = new Video();
  again.track(video);
  video.asked();
  await again.after(1);
  assert.equal(again.starts()[0].device_id, page.starts()[0].device_id);
});

test("a clock that is set back or ahead changes no time between two words", async () => {
  const { page, video } = await watching();
  page.wall -= 600_000;
  await page.after(9);
  video.pauses();
  await page.after(1);
  page.wall += 7_200_000;
  await page.after(9);
  video.asked();
  video.shows();
  await page.after(1);
  const stamps = page.beats().filter((beat) => beat.playback.is_paused || beat.playback.is_playing).map((beat) => seconds(beat.timestamp));
  assert.deepEqual([stamps[0], stamps.at(-1)], [10, 20]);
});

test("a page that plays and pauses sixty times a second is told of four times a second", async () => {
  const { page, video } = await watching();
  const from = page.requests.length;
  for (let turn = 0; turn < 600; turn++) {
    if (video.paused) {
      video.asked();
      video.shows();
    } else video.pauses();
    await page.after(1 / 60);
  }
  assert.ok(page.requests.length - from <= 42, `${page.requests.length - from} requests in ten seconds`);
});

test("two hundred videos are counted each, for an hour, and leave nothing behind", async () => {
  const page = await open();
  const videos = Array.from({ length: 200 }, () => new Video());
  const tracked = videos.map((video, index) => page.track(video, { stream_id: `s-${index}` }));
  const listening = process.memoryUsage().heapUsed;
  for (const video of videos) {
    video.asked();
    video.shows();
  }
  for (let minute = 0; minute < 60; minute++) {
    await page.after(60);
    assert.ok(page.timers.size <= 2 * videos.length, `${page.timers.size} timers`);
    if (minute < 59) page.requests = page.requests.filter((each) => each.path === "session/start");
  }
  assert.equal(new Set(page.starts().map((start) => start.session_id)).size, 200);
  assert.ok(new Set(page.beats().map((beat) => beat.session_id)).size === 200, "each beats in the last minute");
  for (const each of tracked) each.stop();
  await page.after(5);
  assert.equal(page.timers.size, 0, "no timer is left");
  const before = page.requests.length;
  for (const video of videos) {
    video.pauses();
    video.asked();
    video.shows();
  }
  page.goes();
  await page.after(60);
  assert.equal(page.requests.length, before, "nor a listener");
  assert.equal(page.beacons.length, 0);
  assert.ok(process.memoryUsage().heapUsed < listening + 100e6);
});
