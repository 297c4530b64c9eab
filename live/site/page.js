// The page: what is known, put where it is seen. What comes is in listen.js, what it means in model.js, how it is drawn in draw.js.

import { clock, drawMoves, drawStates, short, sparkPoints, total } from "./draw.js";
import { listen } from "./listen.js";
import { Model } from "./model.js";
import { explained, listed } from "./session.js";

const ORDER = ["playing", "starting", "rebuffering", "ad", "paused", "shown", "stalled", "failed"]; // watching first, from the bottom up
const NAMES = { shown: "player shown", ad: "advertisement", stalled: "stalled for long" };
const KEY = "headcount-ops-token";

const still = matchMedia("(prefers-reduced-motion: reduce)");
const by = id => document.getElementById(id);
const model = new Model();
let token = "", cursor = null, map = null, wanted = false, heardAt = 0, lostAt = 0, isAway = false, returns = 0, stop = () => {};

function put(node, text) { if (node.textContent !== text) node.textContent = text; }
function element(name, more = {}, ...inside) { const made = Object.assign(document.createElement(name), more); made.append(...inside); return made; }
const count = number => number === null || number === undefined ? "–" : number.toLocaleString();
const span = () => Number(document.querySelector("#span input:checked").value);

// The connection, in words.

function tell({ kind, data }) {
  if (kind === "refused") { ask("This token opens nothing here. Is it the ops token?"); return; }
  if (kind === "lost") { if (!lostAt) lostAt = Date.now(); }
  else if (kind === "away") isAway = true;
  else if (kind === "picture" || kind === "change") {
    if (kind === "picture" && model.now) returns++;
    model.take(kind, data);
    isAway = false; lostAt = 0; heardAt = performance.now();
    showNumbers();
  }
  showConnection();
  draw();
}

function showConnection() {
  const node = by("connection");
  const [is, text] = lostAt ? ["lost", `Connection lost at ${clock(lostAt / 1_000)}; trying again. Numbers are as of then.`]
    : isAway ? ["away", `The exporter does not answer; numbers are as of ${model.newest ? clock(model.newest) : "–"}.`]
    : !model.now ? ["connecting", "Connecting …"]
    : ["live", `Live; known since ${clock(model.since)}${returns ? `; came back ${returns === 1 ? "once" : `${returns} times`}` : ""}.`];
  node.dataset.is = is;
  put(node, text);
}

// Numbers.

function showNumbers() {
  const { now } = model, [joined, left] = model.moved(60);
  put(by("watching"), count(now.watching));
  put(by("sessions"), count(now.sessions));
  put(by("joined"), count(joined));
  put(by("left"), count(left));
  document.title = `${count(now.watching)} watching · Headcount`;
  showLegend(); showStreams(); showQuality(now.quality); showHealth(now.health);
}

function showLegend() {
  const list = by("legend");
  if (!list.children.length)
    for (const state of ORDER) {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = `var(--${state})`;
      list.append(element("li", {}, swatch, NAMES[state] ?? state, element("b", { id: `state-${state}` })));
    }
  for (const state of ORDER) put(by(`state-${state}`), count(model.now.states[state]));
}

const rows = new Map();

function makeRow(label) {
  const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  spark.setAttribute("class", "spark"); spark.setAttribute("viewBox", "0 0 100 20"); spark.setAttribute("preserveAspectRatio", "none"); spark.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  spark.append(line);
  const cells = [element("td"), element("td"), element("td")];
  const name = element("button", { type: "button", className: "plain", textContent: label, title: `Sessions of ${label}` });
  name.addEventListener("click", () => { look("stream_id", label); by("one-title").scrollIntoView({ behavior: still.matches ? "auto" : "smooth" }); });
  const made = element("tr", {}, element("th", { scope: "row" }, name), ...cells, element("td", {}, spark));
  return { made, cells, line };
}

function showStreams() {
  const { streams, sparks, more_streams: more } = model.now, body = by("rows"), stalled = model.states.indexOf("rebuffering");
  const biggest = Object.entries(streams).map(([label, row]) => [label, row, row.reduce((sum, one) => sum + one, 0)])
    .sort((one, other) => other[2] - one[2] || (one[0] < other[0] ? -1 : 1));
  for (const [label, { made }] of rows) if (!(label in streams)) { made.remove(); rows.delete(label); }
  biggest.forEach(([label, row, sessions], at) => {
    if (!rows.has(label)) rows.set(label, makeRow(label));
    const { made, cells, line } = rows.get(label);
    put(cells[0], count(model.watching(row))); put(cells[1], count(sessions)); put(cells[2], count(row[stalled]));
    const points = sparkPoints(sparks[label] ?? [], model.sparksMax);
    if (line.getAttribute("points") !== points) line.setAttribute("points", points);
    if (body.children[at] !== made) body.insertBefore(made, body.children[at] ?? null);
  });
  put(by("more"), more ? `and ${count(more)} smaller ones` : biggest.length ? "\u00a0" : "nobody watches");
}

function tiles(list, entries) {
  entries.forEach(([name, text, bad = false], at) => {
    if (!list.children[at]) list.append(element("div", {}, element("dt", { textContent: name }), element("dd")));
    const [, value] = list.children[at].children;
    put(value, text);
    value.dataset.bad = bad;
  });
}

const seconds = number => number === null ? "–" : `${number < 10 ? number.toFixed(2) : Math.round(number)} s`;

function showQuality(quality) {
  tiles(by("quality"), [
    ["startup, median", seconds(quality.startup_p50_s)], ["startup, 95 of 100", seconds(quality.startup_p95_s)],
    ["time spent stalled", quality.rebuffering_ratio === null ? "–" : `${(quality.rebuffering_ratio * 100).toFixed(2)} %`], ["stalls", count(quality.stalls)],
    ["failed to start", count(quality.start_failures), quality.start_failures > 0], ["failed while playing", count(quality.playback_failures), quality.playback_failures > 0],
    ["left before the start", count(quality.exits_before_start)], ["score", quality.score === null ? "–" : quality.score.toFixed(0)],
  ]);
  put(by("window"), `Of the last ${quality.window_s} s; the time spent stalled is known a minute late, the score when a session is over.`);
}

function showHealth(health) {
  tiles(by("health"), [
    ["journal", health.journal_up ? "up" : "away", !health.journal_up], ["shards", count(health.shards), health.shards === 0],
    ["oldest report", `${health.age_s} s`, health.age_s > 5], ["restarts", count(health.restarts)],
    ["interval stretched", `× ${health.stretch}`, health.stretch > 1], ["unwritten sessions", count(health.journal_unwritten_sessions)],
    ["set aside", count(health.set_aside_records), health.set_aside_records > 0], ["refused", count(health.rejected)], ["fields dropped", count(health.dropped_fields)],
  ]);
  const most = health.dropped_most.map(([endpoint, field, times]) => `${field} (${endpoint}, ${count(times)})`).join(", ");
  put(by("dropped"), most ? `Dropped most in the last minutes: ${most}.` : "\u00a0");
}

// Pictures: drawn when the browser is about to paint, and not at all while nobody sees them.

function draw() {
  if (wanted || document.hidden || !model.lines.length) return;
  wanted = true;
  requestAnimationFrame(() => {
    wanted = false;
    const to = model.newest + Math.floor((performance.now() - heardAt) / 1_000), from = to - span();
    map = drawStates(by("states"), { lines: model.lines, from, to, states: model.states, order: ORDER, cursor });
    drawMoves(by("moves"), { lines: model.lines, from, to, joinedAt: model.states.length + 1 });
  });
}

function read(at) {
  cursor = at;
  const line = at === null ? undefined : model.lines.findLast(one => one[0] <= at && at - one[0] <= 1);
  const first = model.states.length + 1;
  put(by("read"), at === null ? "" : line === undefined ? `${clock(at)}: nothing is known` :
    `${clock(line[0])}: ${count(total(line, model.states.length))} sessions; ${ORDER.filter(state => line[model.states.indexOf(state) + 1])
      .map(state => `${NAMES[state] ?? state} ${count(line[model.states.indexOf(state) + 1])}`).join(", ") || "nobody"}` +
    (line[first] === null ? "" : `; ${count(line[first])} joined, ${count(line[first + 1])} left`));
  draw();
}

function watchPictures() {
  const canvas = by("states");
  canvas.addEventListener("pointermove", event => map && read(map.at(event.offsetX)));
  canvas.addEventListener("pointerleave", () => read(null));
  canvas.addEventListener("blur", () => read(null));
  canvas.addEventListener("keydown", event => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60 }[event.key];
    if (event.key === "Escape") read(null);
    if (!step || !model.newest) return;
    event.preventDefault();
    read(Math.max(model.newest - span(), Math.min(model.newest, (cursor ?? model.newest) + step)));
  });
  by("span").addEventListener("change", draw);
  addEventListener("resize", draw);
  document.addEventListener("visibilitychange", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  setInterval(() => { if (lostAt || isAway || performance.now() - heardAt > 2_000) draw(); }, 1_000); // time goes on where nothing comes
}

// Sessions: from a stream, a user or a device to a list, and from there to one.

async function question(path) {
  try {
    const answer = await fetch(path, { headers: token ? { authorization: `Bearer ${token}` } : {}, cache: "no-store" }), body = await answer.json();
    return answer.ok ? { body } : { problem: body.error.fields.map(({ field, problem }) => `${field} ${problem}`).join("; ") || body.error.message };
  } catch (problem) {
    if (!(problem instanceof TypeError || problem instanceof SyntaxError)) throw problem;
    return { problem: `no answer (${problem.message}); ask again` };
  }
}

async function explain(id) {
  const { body, problem } = await question(`/v1/sessions/${encodeURIComponent(id)}`);
  by("told").replaceChildren(body ? explained(body) : element("p", { textContent: problem }));
  by("told").scrollIntoView({ block: "nearest" });
}

async function find(what, wanted, cursor = "") {
  by("told").replaceChildren();
  const asked = new URLSearchParams({ [what]: wanted, sort: by("sort").value, ...(cursor ? { cursor } : {}) });
  const { body, problem } = await question(`/v1/sessions?${asked}`);
  by("found").replaceChildren(...(body ? listed(body, { choose: explain, more: next => find(what, wanted, next) }) : [element("p", { textContent: problem })]));
}

function look(what, wanted) {
  by("by").value = what; by("wanted").value = wanted;
  if (what !== "session_id") return find(what, wanted);
  by("found").replaceChildren();
  return explain(wanted);
}

// The token: from the link's fragment, which no server sees, or asked for; kept for this tab.

function ask(problem = "") {
  stop();
  sessionStorage.removeItem(KEY);
  by("page").hidden = true; by("ask").hidden = false;
  put(by("refused"), problem);
  put(by("connection"), "Waiting for the ops token");
  by("token").focus();
}

function show() {
  by("ask").hidden = true; by("page").hidden = false;
  stop = listen({ url: "/live", token, tell });
}

function begin() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.has("token")) {
    sessionStorage.setItem(KEY, given.get("token"));
    history.replaceState(null, "", location.pathname);
  }
  token = sessionStorage.getItem(KEY) ?? "";
  by("ask").addEventListener("submit", event => {
    event.preventDefault();
    token = by("token").value.trim();
    by("token").value = "";
    sessionStorage.setItem(KEY, token);
    show();
  });
  by("find").addEventListener("submit", event => { event.preventDefault(); look(by("by").value, by("wanted").value.trim()); });
  watchPictures();
  if (!token && document.documentElement.dataset.token === "wanted") ask(); else show();
}

begin();
