// @ts-check
/**
 * Headcount in a web page: counts whoever watches a <video>, and tells how it goes.
 *
 *     import { Headcount } from "https://tracker.example/headcount.js";
 *     Headcount.track(video, { url: "https://tracker.example", token: "…", stream_id: "derby" });
 *
 * It hears the element's own events and, of a player that is named (hls.js, dash.js, Shaka, video.js), what only that knows. It never throws
 * into the page, writes nothing but one warning for what the page itself got wrong, holds no connection open, and keeps no page out of the
 * back/forward cache. Requests are "simple" ones (text, the token in the query), so that no browser asks before it sends.
 *
 * A *viewing* begins when play is asked for and ends when the source is over, is changed, or the page goes. What it has to say waits in a queue:
 * changes as they happened, each with its time; of regular heartbeats only that one is due, for it is written when it is sent.
 *
 * @typedef {object} Measured What a player may know beyond its element. What is unknown, or no number, is left out.
 * @property {string | null} [source] What it plays: another one is another viewing.
 * @property {number} [bitrate_kbps]
 * @property {number} [latency_s] Behind the live edge.
 * @property {number} [dvr_offset_s] Behind where a viewer who never sought would be.
 *
 * @typedef {object} Options Each but `player` may be a function that is asked when a viewing begins, the token whenever it is needed.
 * @property {string} url Where the tracker is.
 * @property {string | (() => string | Promise<string>)} [token] An ingest token, or a JWT.
 * @property {string | (() => string)} stream_id
 * @property {any} [player] An instance of hls.js, dash.js, Shaka or video.js, or a function that returns what is `Measured`.
 * @property {string | (() => string)} [channel_id]
 * @property {string | (() => string)} [creator_id]
 * @property {string | (() => string)} [creator_name]
 * @property {string | (() => string)} [user_id]
 * @property {string | (() => string)} [device_id] Otherwise a random one, kept in this browser.
 * @property {string | (() => string)} [platform] `web`, unless it says otherwise.
 * @property {string | (() => string)} [app_version]
 * @property {string | (() => string)} [program_id]
 * @property {string | (() => string)} [program_title]
 * @property {string | (() => string)} [country]
 * @property {string | (() => string)} [connection_type] `wifi`, `cellular` or `ethernet`, where the browser does not know.
 * @property {string | (() => string)} [latency_mode] `normal`, unless it says `low`.
 * @property {boolean | (() => boolean)} [dvr_enabled]
 *
 * @typedef {(metadata?: object) => void} Tells
 *
 * @typedef {object} Tracked
 * @property {() => string | undefined} session_id The viewing's id; undefined between viewings.
 * @property {(changed: Partial<Options>) => void} set Another `stream_id` begins another viewing; a `program_id` is told.
 * @property {() => void} start Play was asked for, sooner than the element knows.
 * @property {(reason?: string) => void} end The viewing is over.
 * @property {() => void} stop It is over, and the element is not listened to any more.
 * @property {(type: string, metadata?: object) => void} event Any event of the API.
 * @property {(fatal: boolean, metadata?: object) => void} error For what a player only tells its page, as Shaka does of a failed load().
 * @property {() => void} chat The viewer wrote a message.
 * @property {Tells} reaction
 * @property {Tells} share
 * @property {Tells} follow
 * @property {Tells} subscribe
 * @property {Tells} tip
 * @property {Tells} ad_break_start
 * @property {Tells} ad_break_end
 * @property {Tells} ad_start
 * @property {Tells} ad_end
 * @property {Tells} ad_error
 *
 * @typedef {"starting" | "playing" | "rebuffering" | "paused" | "failed"} State
 *
 * @typedef {object} Viewing
 * @property {Record<string, string | undefined>} ids
 * @property {Record<string, string | undefined>} program
 * @property {number} base What turns this page's own time, which no clock sets back, into a date.
 * @property {State} state
 * @property {number} since
 * @property {number} watched
 * @property {boolean} frame Whether one was shown.
 * @property {string | null | undefined} source
 * @property {number} interval
 * @property {number} stalls
 * @property {number} switches
 * @property {string} quality
 * @property {number} chats
 * @property {number} reactions
 * @property {string[]} programs
 * @property {boolean} [behind] The live edge.
 * @property {object} opened The start that was told, should it be asked for again.
 *
 * @typedef {object} Item What is sent: a body, an event, or (neither) the heartbeat that is due.
 * @property {Viewing} of
 * @property {string} path
 * @property {number} at
 * @property {any} [body]
 * @property {any} [event]
 * @property {boolean} [change] A heartbeat that tells of a change.
 */

const VERSION = "0.1.0";
const UNKNOWN = "unknown";
const START = "session/start";
const BEAT = "session/heartbeat";
const END = "session/end";
const EVENTS = "events";
const TELLS = "reaction share follow subscribe tip ad_break_start ad_break_end ad_start ad_end ad_error".split(" ");

/** Changes are held for as long, to go together; one that is undone sooner is not told. */
const HOLD_MS = 250;
const TIMEOUT_MS = 15_000;
const BACKOFF_MS_MAX = 20_000;
/** After so many failures in a row, and never an answer, somebody blocks us: then it is tried so much more rarely. */
const BLOCKED_AFTER = 9;
const BLOCKED_FACTOR = 15;
const ERROR_AGAIN_MS = 10_000;
const QUEUE_MAX = 300;
/** A player that only mends itself takes its source off the element, and puts it back at once. */
const SETTLE_MS = 500;
/** A page that goes may still hear its element. */
const GOING_MS = 2_000;
const FORGOTTEN_MS = 1_800_000;
const EVENTS_MAX = 50;
const METADATA_MAX = 1_000;
/** All beacons and keepalive requests of a page share 64 KiB while they are unanswered. */
const LAST_BYTES_MAX = 60_000;
const BEHIND_S = 10;
const LATENCY_S_MAX = 3_600;
/** A player steps over a gap by so little; a viewer who seeks goes further. */
const NUDGE_S = 1;

const now = () => performance.now();
/** @param {unknown} value */
const positive = (value) => (typeof value === "number" && value >= 0 && value < 1e9 ? Math.round(value * 1e3) / 1e3 : undefined);
const randomId = () => {
  try {
    return crypto.randomUUID();
  } catch {
    // Not a secure context: then there is only what cannot be told from random.
    return `${Date.now()}-${Math.random()}-${Math.random()}`;
  }
};
/** @param {string} to @param {Blob} body @param {boolean} mayOutlive Whether the page may be gone before the answer. @param {AbortSignal} [signal] */
const request = (to, body, mayOutlive, signal) =>
  fetch(to, { method: "POST", body, credentials: "omit", keepalive: mayOutlive && body.size < LAST_BYTES_MAX, signal });
const isHidden = () => document.visibilityState === "hidden";

/** Whether a request of this page was ever answered. */
let heard = false;
let warned = "";
/** @param {string} why What the page got wrong; said once. */
const warn = (why) => {
  if (warned !== why) console.warn(`headcount: ${(warned = why)}`);
};

/**
 * Whatever goes wrong in here is not the page's.
 *
 * @template {unknown[]} A
 * @template R
 * @param {(...given: A) => R} does
 * @returns {(...given: A) => R | undefined}
 */
const quietly =
  (does) =>
  (...given) => {
    try {
      return does(...given);
    } catch {
      return undefined;
    }
  };

/** What asks for privacy is told of nobody: then no id outlives a viewing. */
const isPrivate = () => /** @type {any} */ (navigator).globalPrivacyControl === true;

let device = "";
const deviceId = () => {
  if (isPrivate()) return randomId();
  const key = "headcount.device";
  quietly(() => (device ||= localStorage.getItem(key) ?? ""))();
  device ||= randomId();
  quietly(() => localStorage.setItem(key, device))();
  return device;
};

/**
 * Read what a player knows; told apart by what each alone can be asked.
 *
 * @param {any} player
 * @param {HTMLVideoElement} video
 * @returns {Measured}
 */
const measured = (player, video) => {
  const at = video.currentTime;
  if (!player) {
    // What it played last is still its currentSrc when it plays nothing (0, 3).
    return { source: video.src || (video.networkState % 3 ? video.currentSrc : "") };
  }
  if (typeof player === "function") {
    return player() ?? {};
  }
  if (player.getVariantTracks) {
    // Shaka. Its own liveLatency is the viewer's clock's.
    const timeline = player.isLive() && player.getManifest()?.presentationTimeline;
    return {
      source: player.getAssetUri(),
      bitrate_kbps: player.getVariantTracks().find((/** @type {any} */ track) => track.active)?.bandwidth / 1e3,
      ...(timeline && { latency_s: timeline.getSegmentAvailabilityEnd() - at, dvr_offset_s: Math.max(0, player.seekRange().end - at) }),
    };
  }
  if (player.getCurrentLiveLatency) {
    // dash.js
    const latency_s = player.isDynamic() ? player.getCurrentLiveLatency() : NaN;
    const source = player.getSource();
    return {
      source: typeof source === "string" ? source : undefined,
      bitrate_kbps: player.getCurrentRepresentationForType("video")?.bitrateInKbit,
      latency_s,
      dvr_offset_s: Math.max(0, latency_s - player.getTargetLiveDelay()),
    };
  }
  if (player.tech) {
    // video.js
    const live = player.liveTracker;
    return {
      source: player.currentSrc(),
      bitrate_kbps: player.tech(true)?.vhs?.playlists?.media?.()?.attributes?.BANDWIDTH / 1e3,
      ...(live?.isLive() && { dvr_offset_s: Math.max(0, live.liveCurrentTime() - player.currentTime()) }),
    };
  }
  // hls.js
  const level = player.levels?.[player.currentLevel];
  return {
    source: player.url,
    bitrate_kbps: level?.bitrate / 1e3,
    ...(level?.details?.live && { latency_s: player.latency || NaN, dvr_offset_s: Math.max(0, player.liveSyncPosition - at) }),
  };
};

/**
 * Hear of a player's own errors.
 *
 * @param {any} player
 * @param {(fatal: boolean, code: unknown) => void} told
 */
const onErrors = (player, told) => {
  if (!player || typeof player === "function") return;
  if (player.getVariantTracks) {
    // It says only after it has told its error that it will try again.
    player.addEventListener("error", (/** @type {any} */ { detail }) => setTimeout(() => told(detail?.severity === 2, detail?.code)));
  } else if (player.getCurrentLiveLatency) {
    // Manifests, what cannot be decoded, and keys; fragments are tried again.
    player.on("error", (/** @type {any} */ { error }) => told(/^(1[01]|2[3-5]|3[1245]|1..)$/.test(error?.code), error?.code));
  } else if (player.tech) {
    player.on("error", () => told(true, player.error()?.code));
  } else {
    player.on("hlsError", (/** @type {any} */ _, /** @type {any} */ data) => told(!!data?.fatal, data?.details));
  }
};

/** Whoever has something to do: a viewing that goes on, or something to send. Nothing else is held. @type {Set<any>} */
const busy = new Set();
let listenToPage = () => {
  listenToPage = () => {};
  /** @type {(target: EventTarget, type: string, does: (each: any, event: any) => void) => void} */
  const on = (target, type, does) => target.addEventListener(type, (event) => busy.forEach((each) => quietly(does)(each, event)));
  on(window, "pagehide", (each) => each.leave(true));
  on(window, "pageshow", (each, event) => event.persisted && each.back());
  on(window, "online", (each) => each.send());
  on(document, "freeze", (each) => each.leave(false));
  on(document, "resume", (each) => each.look());
  on(document, "visibilitychange", (each) => each.look());
  on(document, "fullscreenchange", (each) => each.screen());
};

/**
 * @param {HTMLVideoElement} video
 * @param {Options} options
 * @returns {Tracked}
 */
const watch = (video, options) => {
  /** @type {Item[]} */
  let queue = [];
  /** @type {Item[]} */
  let flying = [];
  /** @type {Viewing | undefined} */
  let viewing;
  let token = "";
  let fails = 0;
  /** @type {any} */
  let sendTimer = 0;
  /** @type {any} */
  let beatTimer = 0;
  let beatDue = Infinity;
  /** A heartbeat goes when nothing else waits, and is written then. */
  let isDue = false;
  let position = 0;
  let isStalled = false;
  let isSeeking = false;
  let wasInside = false;
  let isFull = false;
  let isMuted = video.muted;
  /** The element plays on, and nobody is to be counted again before play is asked for. */
  let isHalted = false;
  let leftAt = -Infinity;
  let renewedAt = -Infinity;
  /** Says whether an element that was emptied plays the same again. @type {((isLate: boolean) => void) | undefined} */
  let settle;
  /** A fatal error that the element does not feel yet. @type {any} */
  let doom;
  /** When each error was last told. @type {Record<string, number>} */
  let errors = {};
  const listening = new AbortController();

  /** @param {keyof Options} name @returns {any} */
  const option = (name) => (typeof options[name] === "function" ? /** @type {any} */ (options[name])() : options[name]);
  /** @param {keyof Options} name @returns {string | undefined} */
  const text = (name) => {
    const value = option(name);
    return value === null || value === undefined || value === "" ? undefined : String(value).slice(0, 256);
  };
  const read = () => quietly(measured)(options.player, video) ?? {};
  /** @param {Viewing} of @param {number} at */
  const stamp = (of, at) => new Date(of.base + at).toISOString();

  // What is told

  /** @param {Partial<Item> & { of: Viewing, path: string }} item */
  const say = (item) => {
    queue.push({ at: now(), ...item });
    // The head may be on its way. Heartbeats go first.
    if (queue.length > QUEUE_MAX) queue.splice(Math.max(1, queue.findIndex((each, index) => index && each.path === BEAT)), 1);
    hurry(item.body && !item.change ? 0 : HOLD_MS);
  };
  /** @param {number} hold */
  const hurry = (hold) => {
    busy.add(self);
    if (isHidden() && !fails) send();
    else sendTimer ||= setTimeout(send, hold);
  };
  /** @param {string} event_type @param {object} [given] */
  const tell = (event_type, given) => {
    if (!viewing) return;
    const at = now();
    const written = quietly(JSON.stringify)(given) ?? "";
    const metadata = written && written.length < METADATA_MAX ? JSON.parse(written) : undefined;
    say({ of: viewing, path: EVENTS, at, event: { event_id: randomId(), event_type, timestamp: stamp(viewing, at), metadata } });
  };
  /** @param {Viewing} of @param {number} at */
  const beatBody = (of, at) => {
    const { bitrate_kbps, latency_s, dvr_offset_s } = read();
    const latency = positive(latency_s) ?? Infinity;
    let ahead;
    for (let each = 0; each < video.buffered.length; each++) {
      if (video.buffered.start(each) <= video.currentTime) ahead = video.buffered.end(each) - video.currentTime;
    }
    of.behind = /** @type {number} */ (dvr_offset_s) >= BEHIND_S;
    return {
      ...of.ids,
      epg: of.program,
      playback: {
        is_playing: of.state === "playing",
        is_paused: of.state === "paused",
        is_buffering: of.state === "rebuffering" || of.state === "starting",
        quality: of.quality || undefined,
        volume_level: positive(video.muted ? 0 : video.volume),
        dvr_offset_seconds: positive(dvr_offset_s),
      },
      performance: {
        buffer_health_seconds: positive(ahead),
        rebuffer_count: of.stalls,
        bitrate_kbps: positive(bitrate_kbps) || undefined,
        latency_ms: latency < LATENCY_S_MAX ? Math.round(latency * 1e3) : undefined,
      },
      timestamp: stamp(of, at),
    };
  };
  const tellState = () => {
    if (!viewing) return;
    const at = now();
    const last = queue.at(-1);
    if (last?.change && last.of === viewing && at - last.at < HOLD_MS && !flying.includes(last)) queue.pop();
    say({ of: viewing, path: BEAT, at, change: true, body: beatBody(viewing, at) });
    isDue = false;
    plan(0.9);
  };
  const beat = () => {
    if (!viewing) return;
    if (wasInside && !video.isConnected && video.paused) {
      // The page took its player away without a word.
      finish("user_exit");
      return;
    }
    isDue = true;
    hurry(0);
    plan(0.9);
  };
  /** @param {number} least Of the interval; where in the rest is chance, so that a whole audience does not beat at once. */
  const plan = (least) => {
    clearTimeout(beatTimer);
    if (!viewing) return;
    const wait = viewing.interval * 1e3 * (least + (1 - least) * Math.random());
    beatDue = now() + wait;
    beatTimer = setTimeout(quietly(beat), wait);
  };

  // How it goes

  /** @param {number} at */
  const count = (at) => {
    if (!viewing) return;
    if (viewing.state === "playing" || viewing.state === "rebuffering") viewing.watched += Math.max(0, at - viewing.since);
    viewing.since = at;
  };
  /** @param {State} state */
  const go = (state) => {
    if (!viewing || viewing.state === state || (viewing.state === "failed" && state !== "playing")) return;
    const was = viewing.state;
    count(now());
    viewing.state = state;
    if (state === "playing" && !viewing.frame) {
      viewing.frame = true;
      tell("stream_start");
    } else if (doom && state === "rebuffering") {
      fail(true, doom);
    } else if (state === "rebuffering" && was === "playing") {
      viewing.stalls++;
      isStalled = true;
      tell("stream_buffer_start");
    } else if (state === "playing" && isStalled) {
      isStalled = false;
      tell("stream_buffer_end");
    } else {
      // The end of a wait that began in a pause would lead back to it.
      isStalled = false;
      tellState();
    }
  };
  /** @param {boolean} [isUnderWay] Nobody saw it begin: no startup is told. */
  const begin = (isUnderWay) => {
    if (viewing) return;
    const at = now();
    const stream_id = text("stream_id");
    if (!stream_id || !options.url) {
      warn("url and stream_id are needed");
      return;
    }
    const privately = isPrivate();
    const channel_id = text("channel_id") ?? UNKNOWN;
    const creator_id = text("creator_id") ?? UNKNOWN;
    const ids = {
      session_id: randomId(),
      user_id: privately ? undefined : text("user_id"),
      device_id: (!privately && text("device_id")) || deviceId(),
      stream_id,
      channel_id,
      creator_id,
    };
    const program = { current_program_id: text("program_id"), current_program_title: text("program_title") };
    const base = Date.now() - at;
    const opened = {
      ...ids,
      platform: text("platform") ?? "web",
      app_version: text("app_version"),
      stream: { stream_id, channel_id, creator_id, creator_name: text("creator_name") },
      epg: { ...program, current_program_id: program.current_program_id ?? UNKNOWN },
      playback: { quality: "auto", latency_mode: text("latency_mode") ?? "normal", dvr_enabled: !!option("dvr_enabled") },
      device: {
        type: "web",
        screen_resolution: privately ? undefined : `${screen.width}x${screen.height}`,
        connection_type: text("connection_type") ?? /** @type {any} */ (navigator).connection?.type ?? "",
      },
      geo: { country: text("country") ?? "" },
      referrer: privately ? undefined : { page: location.pathname },
      client: { name: "headcount.js", version: VERSION },
      timestamp: new Date(base + at).toISOString(),
    };
    viewing = {
      ids,
      program,
      base,
      state: "starting",
      since: at,
      watched: 0,
      frame: false,
      source: read().source,
      interval: 30,
      stalls: 0,
      switches: 0,
      quality: "",
      chats: 0,
      reactions: 0,
      programs: program.current_program_id ? [program.current_program_id] : [],
      opened,
    };
    isHalted = isStalled = doom = false;
    errors = {};
    wasInside = video.isConnected;
    say({ of: viewing, path: START, at, body: opened });
    if (isUnderWay) {
      viewing.frame = true;
      viewing.state = video.readyState > 2 ? "playing" : "rebuffering";
      seeQuality();
      tellState();
    }
    plan(0.5);
  };
  /** It plays, and nobody is counted for it: go on in the middle. */
  const resume = () => {
    if (!isHalted && !video.paused && !video.ended && now() - leftAt > GOING_MS) begin(true);
  };
  /** @param {string} [reason] @param {number} [at] */
  const finish = (reason = "user_exit", at = now()) => {
    if (!viewing) return;
    count(at);
    const of = viewing;
    viewing = undefined;
    clearTimeout(beatTimer);
    beatDue = Infinity;
    isDue = false;
    say({
      of,
      path: END,
      at,
      body: {
        session_id: of.ids.session_id,
        watch_summary: {
          total_watch_seconds: Math.round(of.watched / 1e3),
          end_reason: of.state === "failed" ? "error" : reason,
          programs_watched: of.programs,
        },
        performance: { total_rebuffer_count: of.stalls, quality_switches: of.switches },
        engagement: { total_chat_messages_sent: of.chats, total_reactions_sent: of.reactions },
        timestamp: stamp(of, at),
      },
    });
  };
  const seeQuality = () => {
    if (!viewing || !video.videoHeight) return;
    const quality = `${video.videoHeight}p`;
    if (quality === viewing.quality) return;
    if (viewing.quality) viewing.switches++;
    viewing.quality = quality;
    tell("quality_change", { quality });
  };
  /** @param {boolean} full */
  const fill = (full) => {
    if (full !== isFull) tell((isFull = full) ? "fullscreen_enter" : "fullscreen_exit");
  };
  /** @param {boolean} fatal @param {any} [metadata] */
  const fail = (fatal, metadata) => {
    const at = now();
    const kind = metadata?.code + fatal;
    if (!viewing || at - errors[kind] < ERROR_AGAIN_MS) return;
    if (fatal && viewing.state === "playing" && !video.error) {
      // It goes on as long as something is buffered.
      doom = metadata;
      return;
    }
    errors[kind] = at;
    tell("stream_error", { ...metadata, fatal });
    if (fatal) {
      count(at);
      viewing.state = "failed";
    }
  };

  // How it is sent

  /** Take from the head of the queue what one request can carry. @returns {Item[]} */
  const next = () => {
    const [head] = queue;
    if (!head) return isDue && viewing ? [{ of: viewing, path: BEAT, at: now() }] : [];
    if (!head.event) return [head];
    const other = queue.findIndex((each) => !each.event || each.of !== head.of);
    return queue.slice(0, Math.min(other < 0 ? queue.length : other, EVENTS_MAX));
  };
  /** @param {Item[]} items */
  const drop = (items) => {
    queue = queue.filter((each) => !items.includes(each));
    if (!items[0].body && !items[0].event) isDue = false;
  };
  /** @param {Item[]} items @returns {Blob} */
  const bodyOf = (items) => {
    const [{ of, body, event }] = items;
    const said = event ? { ...of.ids, events: items.map((each) => each.event) } : (body ?? beatBody(of, now()));
    return new Blob([JSON.stringify(said)], { type: "text/plain" });
  };
  /** @param {string} path */
  const address = (path) => `${String(options.url).replace(/\/+$/, "")}/analytics/live/${path}${token ? `?access_token=${encodeURIComponent(token)}` : ""}`;
  const send = async () => {
    clearTimeout(sendTimer);
    sendTimer = 0;
    if (flying.length) return;
    // What is older is of no viewing that is still remembered.
    queue = queue.filter((each) => now() - each.at < FORGOTTEN_MS);
    const items = (flying = next());
    if (!items.length) {
      if (!viewing) busy.delete(self);
      return;
    }
    let wait = 0;
    const giveUp = new AbortController();
    const timer = setTimeout(() => giveUp.abort(), TIMEOUT_MS);
    try {
      token = (await option("token")) ?? "";
      const answer = await request(address(items[0].path), bodyOf(items), isHidden(), giveUp.signal);
      const { status } = answer;
      const said = await answer.json().catch(() => ({}));
      heard = true;
      const why = said.error?.message;
      if (why && status < 500 && status !== 429) warn(why);
      // What is wrong stays wrong; a token may be renewed.
      if (!said.data && (!why || status > 499 || [401, 408, 429].includes(status))) {
        wait = +(answer.headers.get("retry-after") ?? 0) * 1e3 * (1 + Math.random() / 4) || 0;
        throw status;
      }
      fails = 0;
      drop(items);
      hear(items[0], said.data ?? {});
    } catch {
      const slow = !heard && fails >= BLOCKED_AFTER ? BLOCKED_FACTOR : 1;
      wait = Math.max(wait, slow * Math.min(BACKOFF_MS_MAX, 1_000 * 2 ** Math.min(fails++, 9)) * (0.5 + Math.random() / 2));
    }
    clearTimeout(timer);
    flying = [];
    if (wait) {
      clearTimeout(sendTimer);
      sendTimer = setTimeout(send, wait);
    } else if (!sendTimer) {
      send();
    }
  };
  /** @param {Item} item @param {any} data */
  const hear = (item, data) => {
    const interval = data.next_heartbeat_seconds ?? data.heartbeat_interval_seconds;
    const isCurrent = item.of === viewing;
    if (interval > 0) {
      item.of.interval = Math.min(interval, 3_600);
      if (isCurrent) plan(item.path === START ? 0.5 : 0.9);
    }
    if (data.start_wanted && isCurrent && queue[0]?.path !== START) queue.unshift({ of: item.of, path: START, at: now(), body: item.of.opened });
    if (data.reason === "session_ended" && isCurrent && now() - renewedAt > 60_000) {
      // Somebody ended it who did not see us: who goes on watching is counted again.
      renewedAt = now();
      viewing = undefined;
      queue = [];
      resume();
    }
  };

  // What the page does

  const self = {
    /** The page goes, or is frozen: what waits goes by beacons, the end last, for as much as a page may send then. @param {boolean} forGood */
    leave(forGood) {
      leftAt = now();
      if (forGood) finish();
      else beat();
      clearTimeout(sendTimer);
      sendTimer = 0;
      /** @type {[string, Blob][]} */
      const bodies = [];
      const all = queue;
      for (let items = next(); items.length; items = next()) {
        bodies.push([address(items[0].path), bodyOf(items)]);
        drop(items);
      }
      // None of it was answered: if the page returns, it is all told again.
      queue = all;
      const size = () => bodies.reduce((sum, [, body]) => sum + body.size, 0);
      while (bodies.length > 1 && size() > LAST_BYTES_MAX) bodies.shift();
      for (const [to, body] of bodies) {
        quietly(() => navigator.sendBeacon(to, body))() || quietly(() => request(to, body, true).catch(() => {}))();
      }
    },
    back() {
      leftAt = -Infinity;
      resume();
      send();
    },
    send,
    /** It was hidden, shown, thawed, or is in the net again: timers may have slept. */
    look() {
      if (now() >= beatDue) beat();
      else if (isHidden()) tellState();
      else if (!flying.length && !fails) send();
    },
    screen: () => fill(!!document.fullscreenElement?.contains(video)),
  };

  // What the element does

  /** @type {Record<string, () => void>} */
  const hears = {
    play() {
      settle?.(false);
      begin();
      if (viewing?.state === "paused" && video.readyState < 3) go(viewing.frame ? "rebuffering" : "starting");
    },
    playing() {
      settle?.(true);
      doom = undefined;
      resume();
      if (viewing && !viewing.frame) viewing.source = read().source ?? viewing.source;
      go("playing");
      seeQuality();
    },
    waiting() {
      if (!video.paused) go(viewing?.frame ? "rebuffering" : "starting");
    },
    pause() {
      if (!video.ended) go("paused");
    },
    ended() {
      finish();
    },
    seeking() {
      if (!viewing?.frame || isSeeking) return;
      isSeeking = true;
      if (Math.abs(video.currentTime - position) > NUDGE_S) tell("dvr_seek");
    },
    seeked() {
      isSeeking = false;
      position = video.currentTime;
      if (!viewing?.frame) return;
      const wasBehind = viewing.behind;
      tellState();
      if (wasBehind && !viewing.behind) tell("dvr_resume_live");
    },
    timeupdate() {
      const has = video.currentTime !== position && !video.paused && !video.seeking;
      position = video.currentTime;
      if (viewing) {
        // Some browsers forget to say that a stall is over.
        if (has && viewing.state === "rebuffering" && video.readyState > 2) go("playing");
        // Timers of a hidden page sleep; an element that plays does not.
        if (now() >= beatDue) beat();
      } else if (has) {
        resume();
      }
    },
    emptied() {
      const of = viewing;
      const at = now();
      isSeeking = false;
      if (!of) return;
      settle = quietly((isLate) => {
        const { source } = read();
        if (!source && !isLate) return;
        settle = undefined;
        // What it was asked to play first may still come.
        if (viewing !== of || (source && !of.frame)) return;
        if (source && source === of.source) {
          go("rebuffering");
        } else {
          finish("user_exit", at);
          if (!video.paused) begin();
        }
      });
      settle(false);
      setTimeout(() => settle?.(true), SETTLE_MS);
    },
    loadedmetadata() {
      settle?.(true);
    },
    error() {
      if (video.error) fail(true, { code: video.error.code, message: video.error.message });
    },
    resize: seeQuality,
    volumechange() {
      const muted = video.muted || video.volume === 0;
      if (muted !== isMuted) tell((isMuted = muted) ? "mute" : "unmute");
    },
    // An iPhone fills its screen with the element alone.
    webkitbeginfullscreen: () => fill(true),
    webkitendfullscreen: () => fill(false),
  };
  for (const type in hears) video.addEventListener(type, quietly(hears[type]), { signal: listening.signal });
  const hearErrors = () => quietly(onErrors)(options.player, quietly((fatal, code) => viewing && fail(fatal, { code })));
  hearErrors();
  if (!video.paused && !video.ended) begin(video.readyState > 2 && video.currentTime > 0);

  /** @type {Record<string, (...given: any[]) => any>} */
  const tracked = {
    session_id: () => viewing?.ids.session_id,
    set(/** @type {Partial<Options>} */ changed) {
      const { player } = options;
      const stream = viewing?.ids.stream_id;
      options = { ...options, ...changed };
      if (options.player !== player) hearErrors();
      if (!viewing) return;
      if (text("stream_id") !== stream) {
        finish();
        if (!video.paused) begin();
        return;
      }
      if (!isPrivate()) viewing.ids.user_id = text("user_id");
      const program_id = text("program_id");
      if (program_id && program_id !== viewing.program.current_program_id) {
        const program_title = text("program_title");
        viewing.program = { current_program_id: program_id, current_program_title: program_title };
        viewing.programs.push(program_id);
        tell("program_change", { program_id, program_title });
      }
    },
    start: () => begin(),
    end(/** @type {string} */ reason) {
      isHalted = true;
      finish(reason);
    },
    stop() {
      listening.abort();
      tracked.end();
      known.delete(video);
    },
    event(/** @type {string} */ type, /** @type {object} */ metadata) {
      // An advertisement before the film is asked for with it.
      if (/^ad_(break_)?start/.test(type)) begin();
      if (viewing && type === "reaction") viewing.reactions++;
      tell(type, metadata);
    },
    error: fail,
    chat() {
      if (viewing) viewing.chats++;
    },
  };
  for (const type of TELLS) tracked[type] = (/** @type {object} */ metadata) => tracked.event(type, metadata);
  for (const name in tracked) tracked[name] = quietly(tracked[name]);
  return /** @type {any} */ (tracked);
};

/** @type {WeakMap<HTMLVideoElement, Tracked>} */
const known = new WeakMap();

export const Headcount = {
  version: VERSION,
  /**
   * Count whoever watches this element. Asked again of the same element, it takes the options as changed.
   *
   * @param {HTMLVideoElement | HTMLAudioElement | null} element
   * @param {Options} options
   * @returns {Tracked}
   */
  track(element, options) {
    const video = /** @type {HTMLVideoElement} */ (element);
    try {
      const tracked = known.get(video);
      if (tracked) {
        tracked.set(options);
        return tracked;
      }
      listenToPage();
      const made = watch(video, { ...options });
      known.set(video, made);
      return made;
    } catch {
      warn("there is no video element");
      // Whatever it is asked, it does nothing.
      return /** @type {any} */ (new Proxy({}, { get: () => () => {} }));
    }
  },
};
