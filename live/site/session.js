// Sessions that were found, and one of them in words and as a bar over time, from what /v1/sessions and /v1/sessions/{session_id} tell.

import { clock } from "./draw.js";

function element(name, text = "", more = {}) { const made = document.createElement(name); made.textContent = text; Object.assign(made, more); return made; }

export function lasting(seconds) {
  if (seconds < 60) return `${+seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), hours = Math.floor(whole / 3_600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

/** One interval as a sentence. */
export function sentence(interval) {
  const counted = interval.counted_as === null ? "counts for nothing"
    : interval.capped ? `${lasting(interval.counted_s)} of it counted as ${words(interval.counted_as)}, which is as much as was promised`
    : `counted as ${words(interval.counted_as)}`;
  const cause = interval.cause ? ` because of ${interval.cause === "seek" ? "a seek" : "the connection"}` : "";
  const open = interval.provisional ? "; may still change" : "";
  return `${clock(interval.from)} ${words(interval.state)}${cause} for ${lasting(interval.seconds)}: ${counted}${open}`;
}

function words(name) { return name.replaceAll("_", " "); }

/** Return what there is to show of a session. */
export function explained(told) {
  const made = element("div", "", { className: "told" });
  made.append(element("h3", told.session_id), element("p", sentenceCase(told.why) + "."));
  const facts = [told.stream_id && `stream ${told.stream_id}`, told.platform, told.country, told.program_title].filter(Boolean);
  const { account } = told;
  const how = [`watched ${lasting(account.watch_time_s)}`, account.startup_time_s !== null && `first frame after ${lasting(account.startup_time_s)}`,
    `${account.rebuffer_count} ${account.rebuffer_count === 1 ? "stall" : "stalls"}, ${lasting(account.rebuffering_time_s)} in all`,
    account.experience_score !== null && `score ${Math.round(account.experience_score)}`].filter(Boolean);
  made.append(element("p", `${facts.join(" · ")} — ${how.join(", ")}.`));
  if (told.intervals.length) made.append(...life(told.intervals));
  const list = element("ol");
  for (const interval of told.intervals) list.append(element("li", sentence(interval)));
  list.tabIndex = 0;
  made.append(element("h3", "What it did, by the player's clock"), list);
  if (told.counters.length) {
    const counters = element("ul");
    for (const row of told.counters) counters.append(element("li", `${words(row.what)}: ${+row.amount.toFixed(1)} — ${row.why}${row.provisional ? " (a part may still change)" : ""}`));
    made.append(element("h3", "What it adds to which counter"), counters);
  }
  const story = element("ol");
  story.tabIndex = 0;
  for (const entry of told.story) story.append(element("li", `${clock(entry.at)} ${entry.text}${entry.playback ? ` ${words(entry.playback)}` : ""}${entry.reason ? ` (${entry.reason})` : ""}`));
  made.append(element("h3", "What became of it, by our clock"), story);
  return made;
}

/** Return a table of sessions; `choose` is told the one that is clicked, `more` the cursor of what follows. */
export function listed(found, { choose, more }) {
  const made = element("div", "", { className: "scrolls few", tabIndex: 0 });
  if (!found.sessions.length) { made.append(element("p", "No session that is live or lately finished is like this.")); return [made]; }
  const head = element("tr"), body = element("tbody"), table = element("table");
  for (const name of ["session", "user", "state", "since", "watched", "stalls", "score"]) head.append(element("th", name, { scope: "col" }));
  for (const row of found.sessions) {
    const line = element("tr"), name = element("th", "", { scope: "row" }), open = element("button", row.session_id.replaceAll("\0", "·"), { type: "button", className: "plain", title: row.why });
    open.addEventListener("click", () => choose(row.session_id));
    name.append(open);
    const state = row.liveness === "active" ? words(row.state) : row.failure ? `${row.liveness}, failed` : row.liveness;
    line.append(name, ...[row.user_id ?? "–", state, clock(row.since), lasting(row.watch_time_s), String(row.stalls), row.score === null ? "–" : row.score.toFixed(0)]
      .map(text => element("td", text, { title: text })));
    body.append(line);
  }
  const top = element("thead");
  top.append(head);
  table.append(top, body);
  made.append(table);
  const notes = [];
  if (found.without_shards) notes.push(element("p", `${found.without_shards.join(", ")} did not answer: its sessions are missing.`, { className: "note" }));
  if (found.next) { const next = element("button", "More", { type: "button" }); next.addEventListener("click", () => more(found.next)); notes.push(next); }
  return [made, ...notes];
}

function sentenceCase(text) { return text.charAt(0).toUpperCase() + text.slice(1); }

function life(intervals) {
  const from = intervals[0].from, to = Math.max(from + 1, intervals[intervals.length - 1].to), bar = element("div", "", { className: "life" });
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `States from ${clock(from)} to ${clock(to)}; the list below says the same in words.`);
  const share = at => `${(at - from) / (to - from) * 100}%`;
  for (const interval of intervals) {
    const part = element("span", "", { title: sentence(interval) });
    part.style.left = share(interval.from);
    part.style.width = `${(interval.to - interval.from) / (to - from) * 100}%`;
    part.style.background = `var(--${interval.state})`;
    bar.append(part);
    if (interval.state === "rebuffering") { const mark = element("i", "", { title: sentence(interval) }); mark.style.left = share(interval.from); bar.append(mark); }
  }
  const ends = element("div", "", { className: "ends" });
  ends.append(element("span", clock(from)), element("span", "▼ a stall"), element("span", clock(to)));
  return [bar, ends];
}
