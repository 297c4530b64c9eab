// What a viewing tells: when it begins and ends, how it goes, and what players know beyond their element.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BEGAN, Video, open } from "./page.js";

const at = (seconds) => new Date(BEGAN + seconds * 1_000).toISOString();

/** Opens a page on which somebody watches since the 0.5th second. */
const watching = async (changes, options) => {
  const page = await open(changes);
  const video = new Video();
  const tracked = page.track(video, options);
  video.asked();
  await page.after(0.5);
  video.shows();
  await page.after(0.5);
  return { page, video, tracked };
};

test("a viewing begins when play is asked for, and its first frame is told with its time", async () => {
  const page = await open();
  const video = new Video();
  page.track(video, { channel_id: "one", program_id: "final", country: "PT", user_id: 7 });
  await page.after(10);
  assert.equal(page.requests.length, 0, "a page that only shows a player has no viewer");
  video.asked();
  await page.after(1.2);
  video.shows();
  await page.after(1);
  const [start] = page.starts();
  assert.equal(start.timestamp, at(10));
  assert.deepEqual(start.stream, { stream_id: "derby", channel_id: "one", creator_id: "unknown" });
  assert.deepEqual([start.user_id, start.epg.current_program_id, start.geo.country, start.platform], ["7", "final", "PT", "web"]);
  const [first] = page.events();
  assert.deepEqual([first.event_type, first.timestamp], ["stream_start", at(11.2)]);
  assert.equal(page.requests[0].type, "text/plain", "whatever asks a browser's permission first is one request more");
  assert.equal(page.requests[0].token, "t");
});

test("pausing and playing on are told at once, each with its time", async () => {
  const { page, video } = await watching();
  await page.after(4);
  video.pauses();
  await page.after(1);
  const paused = page.beats().at(-1);
  assert.deepEqual([paused.playback.is_paused, paused.playback.is_playing, paused.timestamp], [true, false, at(5)]);
  await page.after(2);
  video.asked();
  video.shows();
  await page.after(1);
  const playing = page.beats().at(-1);
  assert.deepEqual([playing.playback.is_paused, playing.playback.is_playing, playing.timestamp], [false, true, at(8)]);
});

test("each stall is told once, with both its ends, and counted", async () => {
  const { page, video, tracked } = await watching();
  video.starves();
  video.starves();
  await page.after(6);
  video.shows();
  await page.after(1);
  const stall = page.events().filter((event) => event.event_type.startsWith("stream_buffer"));
  assert.deepEqual(stall.map((event) => [event.event_type, event.timestamp]), [["stream_buffer_start", at(1)], ["stream_buffer_end", at(7)]]);
  tracked.end();
  await page.after(1);
  assert.equal(page.ends()[0].performance.total_rebuffer_count, 1);
  assert.equal(page.ends()[0].watch_summary.total_watch_seconds, 8, "0.5 to 8: half a second is rounded up");
});

test("waiting for the first frame is no stall", async () => {
  const page = await open();
  const video = new Video();
  page.track(video);
  video.asked();
  video.starves();
  await page.after(3);
  video.shows();
  await page.after(1);
  assert.deepEqual(page.types(), ["stream_start", "quality_change"]);
});

test("a wait that begins as a pause ends comes to play again, not back to the pause", async () => {
  const { page, video } = await watching();
  video.pauses();
  await page.after(2);
  video.readyState = 2;
  video.asked();
  await page.after(2);
  assert.equal(page.beats().at(-1).playback.is_buffering, true);
  video.shows();
  await page.after(1);
  assert.equal(page.beats().at(-1).playback.is_playing, true);
  assert.ok(!page.types().includes("stream_buffer_end"), "the end of a stall leads back to what was before it");
});

test("a seek is told before its stall, a player's step over a gap is not", async () => {
  const { page, video } = await watching();
  video.moves(1);
  video.currentTime += 0.2;
  video.says("seeking");
  video.says("seeked");
  await page.after(1);
  assert.ok(!page.types().includes("dvr_seek"));
  video.currentTime -= 60;
  video.says("seeking");
  video.currentTime -= 60;
  video.says("seeking");
  video.starves();
  await page.after(1);
  video.says("seeked");
  video.shows();
  await page.after(1);
  assert.deepEqual(page.types().slice(-3), ["dvr_seek", "stream_buffer_start", "stream_buffer_end"]);
});

test("whoever goes back behind the live edge is told with the offset, and so is the return", async () => {
  let dvr_offset_s = 0;
  const { page, video } = await watching({}, { player: () => ({ dvr_offset_s, latency_s: 4 }) });
  const seek = async (offset) => {
    dvr_offset_s = offset;
    video.currentTime += 300;
    video.says("seeking");
    video.says("seeked");
    await page.after(1);
  };
  await seek(300);
  assert.equal(page.beats().at(-1).playback.dvr_offset_seconds, 300);
  assert.ok(!page.types().includes("dvr_resume_live"));
  await seek(0);
  assert.equal(page.types().at(-1), "dvr_resume_live");
});

test("another source is another viewing with an id of its own", async () => {
  const { page, video, tracked } = await watching();
  const first = tracked.session_id();
  await page.after(4);
  video.turnsTo("https://media.example/b.m3u8");
  await page.after(1);
  assert.deepEqual([page.ends()[0].session_id, page.ends()[0].timestamp], [first, at(5)]);
  assert.equal(tracked.session_id(), undefined);
  video.asked();
  await page.after(1);
  assert.equal(page.starts().length, 2);
  assert.notEqual(page.starts()[1].session_id, first);
});

test("a player that puts the same source back goes on with the same viewing, stalled meanwhile", async () => {
  const { page, video, tracked } = await watching();
  const first = tracked.session_id();
  video.turnsTo(video.src);
  video.paused = false;
  await page.after(3);
  video.shows();
  await page.after(1);
  assert.equal(tracked.session_id(), first);
  assert.deepEqual(page.types().slice(-2), ["stream_buffer_start", "stream_buffer_end"]);
  assert.equal(page.ends().length, 0);
});

test("whoever leaves before the first frame was asked to play and did not", async () => {
  const page = await open();
  const video = new Video();
  page.track(video);
  video.asked();
  await page.after(3);
  video.networkState = 0;
  video.turnsTo("");
  await page.after(2);
  assert.equal(page.ends()[0].timestamp, at(3));
});

test("an element whose source is taken away is watched until then", async () => {
  const { page, video } = await watching();
  video.networkState = 0;
  video.turnsTo("");
  await page.after(5);
  assert.equal(page.ends()[0].timestamp, at(1));
});

test("a player that the page removes without a word is over with the next heartbeat", async () => {
  const { page, video, tracked } = await watching();
  video.pauses();
  video.isConnected = false;
  await page.after(31);
  assert.equal(page.ends().length, 1);
  assert.equal(tracked.session_id(), undefined);
});

test("what is over and is played again is another viewing", async () => {
  const { page, video } = await watching();
  video.ended = true;
  video.pauses();
  video.says("ended");
  await page.after(1);
  assert.equal(page.ends().length, 1);
  assert.ok(!page.beats().some((beat) => beat.playback.is_paused), "the pause before the end is none");
  video.ended = false;
  video.asked();
  await page.after(1);
  assert.equal(new Set(page.starts().map((start) => start.session_id)).size, 2);
});

test("who is found playing has no startup", async () => {
  const page = await open();
  const video = new Video();
  Object.assign(video, { paused: false, readyState: 4, currentTime: 33 });
  page.track(video);
  await page.after(1);
  assert.equal(page.starts().length, 1);
  assert.equal(page.beats()[0].playback.is_playing, true);
  assert.ok(!page.types().includes("stream_start"));
});

test("another stream_id moves on to another viewing, a program_id is told in this one", async () => {
  const { page, tracked } = await watching();
  const first = tracked.session_id();
  tracked.set({ program_id: "second-half", program_title: "Second half" });
  await page.after(1);
  assert.deepEqual(page.events().at(-1).metadata, { program_id: "second-half", program_title: "Second half" });
  assert.equal(tracked.session_id(), first);
  tracked.set({ stream_id: "replay" });
  await page.after(1);
  assert.deepEqual(page.ends()[0].watch_summary.programs_watched, ["second-half"]);
  assert.deepEqual(page.starts().map((start) => start.stream.stream_id), ["derby", "replay"]);
});

test("to track an element twice is to change its options", async () => {
  const { page, video, tracked } = await watching();
  assert.equal(page.track(video, { program_id: "late" }), tracked);
  await page.after(1);
  assert.deepEqual([page.starts().length, page.types().at(-1)], [1, "program_change"]);
});

test("an advertisement before the film is asked for with it", async () => {
  const page = await open();
  const video = new Video();
  const tracked = page.track(video);
  tracked.ad_break_start();
  await page.after(30);
  tracked.ad_break_end();
  video.asked();
  video.shows();
  await page.after(1);
  assert.equal(page.starts().length, 1);
  assert.deepEqual(page.types().slice(0, 3), ["ad_break_start", "ad_break_end", "stream_start"]);
});

test("what the viewer does is told, and summed up at the end", async () => {
  const { page, video, tracked } = await watching();
  tracked.reaction({ kind: "goal" });
  tracked.tip({ amount: 5 });
  tracked.chat();
  video.muted = true;
  video.says("volumechange");
  video.volume = 0.5;
  video.says("volumechange");
  document.fullscreenElement = { contains: (element) => element === video };
  document.dispatchEvent(new Event("fullscreenchange"));
  video.videoHeight = 1_080;
  video.says("resize");
  tracked.end("timeout");
  await page.after(1);
  assert.deepEqual(page.types().slice(2), ["reaction", "tip", "mute", "fullscreen_enter", "quality_change"]);
  assert.deepEqual(page.events().at(-1).metadata, { quality: "1080p" });
  const [end] = page.ends();
  assert.deepEqual(end.engagement, { total_chat_messages_sent: 1, total_reactions_sent: 1 });
  assert.deepEqual([end.watch_summary.end_reason, end.performance.quality_switches], ["timeout", 1]);
});

test("whoever ended it is not counted again before play is asked for", async () => {
  const { page, video, tracked } = await watching();
  tracked.end();
  video.moves(1);
  video.shows();
  await page.after(60);
  assert.equal(page.starts().length, 1);
  video.pauses();
  video.asked();
  await page.after(1);
  assert.equal(page.starts().length, 2);
});

test("an error is told once, a fatal one makes the end one for an error", async () => {
  const { page, video, tracked } = await watching();
  tracked.error(false, { code: "fragLoadError" });
  tracked.error(false, { code: "fragLoadError" });
  video.error = { code: 3, message: "PIPELINE_ERROR_DECODE" };
  video.says("error");
  tracked.end();
  await page.after(1);
  const errors = page.events().filter((event) => event.event_type === "stream_error");
  assert.deepEqual(errors.map((event) => event.metadata), [
    { code: "fragLoadError", fatal: false },
    { code: 3, message: "PIPELINE_ERROR_DECODE", fatal: true },
  ]);
  assert.equal(page.ends()[0].watch_summary.end_reason, "error");
});

const emitter = () => {
  const heard = {};
  return { heard, on: (type, does) => (heard[type] = does), addEventListener: (type, does) => (heard[type] = does) };
};
const shaka = (live) => ({
  ...emitter(),
  getVariantTracks: () => [{ bandwidth: 1 }, { active: true, bandwidth: 3_000_000 }],
  isLive: () => live,
  getManifest: () => ({ presentationTimeline: { getSegmentAvailabilityEnd: () => 106 } }),
  seekRange: () => ({ start: 0, end: 102 }),
  getAssetUri: () => "a.mpd",
});
const dash = (live) => ({
  ...emitter(),
  getCurrentLiveLatency: () => (live ? 6 : NaN),
  getTargetLiveDelay: () => 4,
  isDynamic: () => live,
  getSource: () => "a.mpd",
  getCurrentRepresentationForType: () => ({ bitrateInKbit: 3_000 }),
});
const hls = (live) => ({ ...emitter(), levels: [{ bitrate: 3_000_000, details: { live } }], currentLevel: 0, latency: 6, liveSyncPosition: 102, url: "a.m3u8" });
const videojs = (live) => ({
  ...emitter(),
  tech: () => ({ vhs: { playlists: { media: () => ({ attributes: { BANDWIDTH: 3_000_000 } }) } } }),
  liveTracker: { isLive: () => live, liveCurrentTime: () => 102 },
  currentTime: () => 100,
  currentSrc: () => "a.m3u8",
  error: () => ({ code: 4 }),
});

for (const [name, player, latency_ms] of [["shaka", shaka, 6_000], ["dash.js", dash, 6_000], ["hls.js", hls, 6_000], ["video.js", videojs, undefined]]) {
  test(`${name} tells bitrate, latency and offset of what is live, and no latency of what is not`, async () => {
    const page = await open();
    for (const live of [true, false]) {
      const video = new Video();
      video.currentTime = 100;
      page.track(video, { player: player(live) });
      video.asked();
      video.shows();
      video.pauses();
      await page.after(1);
      const { performance, playback } = page.beats().at(-1);
      assert.equal(performance.bitrate_kbps, 3_000);
      assert.equal(performance.latency_ms, live ? latency_ms : undefined);
      assert.equal(playback.dvr_offset_seconds, live ? 2 : undefined);
    }
  });
}

test("a player's fatal error that it gets over before its buffer is empty is none", async () => {
  const player = hls(true);
  const { page, video } = await watching({}, { player });
  player.heard.hlsError("hlsError", { fatal: true, details: "bufferAppendError" });
  video.says("playing");
  video.starves();
  await page.after(1);
  assert.equal(page.types().at(-1), "stream_buffer_start");
});

test("an error that Shaka says it will try again is not fatal, though it is told as such first", async () => {
  const player = shaka(true);
  const { page, video } = await watching({}, { player });
  const detail = { severity: 2, code: 1_001 };
  player.heard.error({ detail });
  detail.severity = 1;
  video.starves();
  await page.after(1);
  const [error] = page.events().filter((event) => event.event_type === "stream_error");
  assert.equal(error.metadata.fatal, false);
});

test("players' own errors are told as what they are", async () => {
  for (const [player, type, said, wanted] of [
    [shaka(true), "error", [{ detail: { severity: 2, code: 1_001 } }], { fatal: true, code: 1_001 }],
    [shaka(true), "error", [{ detail: { severity: 1, code: 1_002 } }], { fatal: false, code: 1_002 }],
    [dash(true), "error", [{ error: { code: 25 } }], { fatal: true, code: 25 }],
    [dash(true), "error", [{ error: { code: 27 } }], { fatal: false, code: 27 }],
    [hls(true), "hlsError", ["hlsError", { fatal: true, details: "manifestLoadError" }], { fatal: true, code: "manifestLoadError" }],
    [hls(true), "hlsError", ["hlsError", { fatal: false, details: "bufferStalledError" }], { fatal: false, code: "bufferStalledError" }],
    [videojs(true), "error", [], { fatal: true, code: 4 }],
  ]) {
    const { page, video } = await watching({}, { player });
    player.heard[type](...said);
    await page.after(5);
    assert.equal(page.types().includes("stream_error"), !wanted.fatal, "as long as something is buffered nothing has failed");
    video.starves();
    await page.after(1);
    page.answers = undefined;
    if (!wanted.fatal) {
      assert.deepEqual(page.events().find((event) => event.event_type === "stream_error").metadata, wanted);
      continue;
    }
    assert.deepEqual(page.events().at(-1).metadata, wanted);
  }
});
