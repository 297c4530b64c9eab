// What the page knows: now, and the last hour, from pictures and changes. Pure: no page, no clock.

export const GAP_S = 3; // two lines further apart have a gap between them

export class Model {
  states = []; watchingStates = new Set(); lines = []; now = null; life = ""; since = 0; seconds = 3_600; sparkS = 5; sparksMax = 120; qualityS = 300;

  take(kind, data) {
    if (kind === "picture") this.#picture(data);
    else if (kind === "change") this.#change(data);
  }

  /** The newest second that is known; 0: none. */
  get newest() { return this.lines.length ? this.lines[this.lines.length - 1][0] : 0; }

  /** How many of a stream's sessions are in states that count as watching. */
  watching(row) { return row.reduce((sum, count, at) => sum + (this.watchingStates.has(this.states[at]) ? count : 0), 0); }

  /** Joined and left in the last `seconds` seconds; null where nothing is known of it. */
  moved(seconds) {
    const from = this.newest - seconds, sums = [null, null], first = this.states.length + 1;
    for (let at = this.lines.length - 1; at >= 0 && this.lines[at][0] > from; at--)
      for (const which of [0, 1])
        if (this.lines[at][first + which] !== null) sums[which] = (sums[which] ?? 0) + this.lines[at][first + which];
    return sums;
  }

  #picture(data) {
    this.states = data.states_in_order; this.watchingStates = new Set(data.watching_states); this.seconds = data.seconds_max;
    this.sparkS = data.spark_s; this.sparksMax = data.sparks_max; this.qualityS = data.quality_s; this.life = data.life; this.since = data.since;
    this.now = structuredClone(data.now);
    this.#append(data.lines);
  }

  #change(data) {
    const { lines, streams, gone, ...rest } = data;
    Object.assign(this.now, rest);
    Object.assign(this.now.streams, streams);
    for (const label of gone ?? []) { delete this.now.streams[label]; delete this.now.sparks[label]; }
    const before = this.newest;
    this.#append(lines);
    // A stream's course has a point for the first second of each five, here as in the exporter.
    if (Math.floor(before / this.sparkS) !== Math.floor(this.newest / this.sparkS))
      for (const [label, row] of Object.entries(this.now.streams)) {
        const course = (this.now.sparks[label] ??= []);
        course.push(row.reduce((sum, count) => sum + count, 0));
        if (course.length > this.sparksMax) course.shift();
      }
  }

  /** Add lines; what the page had from before stays, also from an exporter that has since begun anew. */
  #append(lines) {
    if (!lines.length) return;
    const first = lines[0][0];
    while (this.newest >= first && this.lines.length) this.lines.pop();
    this.lines.push(...lines);
    const oldest = this.newest - this.seconds;
    let drop = 0;
    while (this.lines[drop][0] <= oldest) drop++;
    this.lines.splice(0, drop);
  }
}
