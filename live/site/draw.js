// Two pictures on a canvas, and one line: areas on top of each other, bars up and down, a course. A gap stays a gap.

import { GAP_S } from "./model.js";

// In the size of letters that the page has: on a wall they are larger.
const LEFT = 2.75, BOTTOM = 1.15, TOP = 0.4, RIGHT = 0.25;

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); }

/** A round number that is at least `most`. */
export function ceiling(most) {
  if (most <= 5) return 5;
  const unit = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map(step => step * unit).find(step => step >= most);
}

function begin(canvas) {
  const { width, height } = canvas.getBoundingClientRect(), scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const letter = parseFloat(getComputedStyle(document.documentElement).fontSize);
  pen.font = `${letter * 0.75}px system-ui, sans-serif`;
  return { pen, letter, left: LEFT * letter, right: width - RIGHT * letter, top: TOP * letter, bottom: height - BOTTOM * letter, height };
}

/** Seconds that nothing is known of, between `from` and `to`: before the first line, between two, and after the last. */
export function gaps(lines, from, to) {
  const found = [];
  let before = from;
  for (const [at] of lines) {
    if (at - before > GAP_S && at > from) found.push([before, at]);
    before = Math.max(before, at);
  }
  if (to - before > GAP_S) found.push([before, to]);
  return found;
}

/** Runs of lines without a gap between them. */
export function runs(lines) {
  const found = [];
  for (const line of lines) {
    const run = found[found.length - 1];
    if (run && line[0] - run[run.length - 1][0] <= GAP_S) run.push(line); else found.push([line]);
  }
  return found;
}

function frame({ pen, letter, left, right, ...edge }, { lines, from, to, top, bottom = 0 }) {
  const x = at => left + (at - from) / (to - from) * (right - left);
  const y = count => edge.top + (top - count) / (top - bottom) * (edge.bottom - edge.top);
  pen.fillStyle = colour("gap");
  for (const [since, until] of gaps(lines, from, to)) pen.fillRect(x(since), edge.top, x(until) - x(since), edge.bottom - edge.top);
  pen.strokeStyle = colour("edge"); pen.fillStyle = colour("faint"); pen.textAlign = "right"; pen.textBaseline = "middle"; pen.lineWidth = 1;
  for (const count of new Set([top, (top + bottom) / 2, bottom])) {
    pen.beginPath(); pen.moveTo(left, y(count)); pen.lineTo(right, y(count)); pen.stroke();
    if (Number.isInteger(count)) pen.fillText(short(Math.abs(count)), left - letter * 0.4, y(count));
  }
  pen.textAlign = "center"; pen.textBaseline = "alphabetic";
  const step = [15, 60, 300, 900].find(seconds => (to - from) / seconds <= Math.max(2, (right - left) / letter / 6)) ?? 1_800;
  for (let at = Math.ceil(from / step) * step; at <= to; at += step)
    if (x(at) > left + letter * 1.5 && x(at) < right - letter * 1.75) pen.fillText(clock(at, step < 60), x(at), edge.height - letter * 0.25);
  return { x, y };
}

/** Areas on top of each other, the first of `order` at the bottom. */
export function drawStates(canvas, { lines, from, to, states, order, cursor }) {
  const place = begin(canvas), shown = lines.filter(([at]) => at >= from && at <= to);
  const most = shown.reduce((so_far, line) => Math.max(so_far, total(line, states.length)), 0);
  const { x, y } = frame(place, { lines: shown, from, to, top: ceiling(most) });
  const { pen } = place, columns = order.map(state => states.indexOf(state) + 1);
  for (const run of runs(shown)) {
    let floor = run.map(() => 0);
    const wide = run.length === 1 ? [run[0], [run[0][0] + 1, ...run[0].slice(1)]] : run;
    if (wide !== run) floor = [0, 0];
    columns.forEach((column, number) => {
      const roof = wide.map((line, at) => floor[at] + line[column]);
      pen.beginPath();
      wide.forEach((line, at) => pen.lineTo(x(line[0]), y(roof[at])));
      for (let at = wide.length - 1; at >= 0; at--) pen.lineTo(x(wide[at][0]), y(floor[at]));
      pen.closePath();
      pen.fillStyle = colour(order[number]);
      pen.fill();
      floor = roof;
    });
  }
  if (cursor !== null && cursor >= from) {
    pen.strokeStyle = colour("ink"); pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(x(cursor), place.top); pen.lineTo(x(cursor), place.bottom); pen.stroke();
  }
  return { at: px => Math.round(from + (px - place.left) / (place.right - place.left) * (to - from)) };
}

/** Who joined upwards, who left downwards; several seconds are one bar where there is no room for each. */
export function drawMoves(canvas, { lines, from, to, joinedAt }) {
  const place = begin(canvas), shown = lines.filter(([at]) => at >= from && at <= to);
  const step = Math.max(1, Math.ceil((to - from) / Math.max(1, (place.right - place.left) / 3))), bars = new Map();
  for (const line of shown) {
    if (line[joinedAt] === null) continue;
    const at = Math.floor(line[0] / step) * step, bar = bars.get(at) ?? [0, 0];
    bars.set(at, [bar[0] + line[joinedAt], bar[1] + line[joinedAt + 1]]);
  }
  const top = ceiling([...bars.values()].reduce((most, bar) => Math.max(most, ...bar), 0));
  const { x, y } = frame(place, { lines: shown, from, to, top, bottom: -top });
  const wide = Math.max(1, x(from + step) - x(from) - 1);
  for (const [at, [joined, left]] of bars) {
    place.pen.fillStyle = colour("joined"); place.pen.fillRect(x(at), y(joined), wide, y(0) - y(joined));
    place.pen.fillStyle = colour("left"); place.pen.fillRect(x(at), y(0), wide, y(-left) - y(0));
  }
}

/** The points of a course in a box of 100 by 20, the newest at its right. */
export function sparkPoints(course, places) {
  const most = Math.max(1, ...course);
  return course.map((count, at) => `${((places - course.length + at) / (places - 1) * 100).toFixed(1)},${(19 - count / most * 18).toFixed(1)}`).join(" ");
}

export function total(line, states) { let sum = 0; for (let at = 1; at <= states; at++) sum += line[at]; return sum; }
export function short(count) { return count >= 1e6 ? `${+(count / 1e6).toFixed(1)} M` : count >= 1e4 ? `${+(count / 1e3).toFixed(1)} k` : String(count); }
export function clock(at, seconds = true) {
  return new Date(at * 1_000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}), hour12: false });
}
