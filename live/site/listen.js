// The way to the numbers: one request that does not end, its events, and what happens when it does. Knows no page.
// `EventSource` could not be used: it sends no Authorization header, and a token in an address would be logged.

/** Cut a stream's text into events; keeps what is not whole yet. */
export class Events {
  #rest = "";

  /** Return the events that are whole with this text: {event, data, id, retry}. */
  take(text) {
    const parts = (this.#rest + text).split("\n\n");
    this.#rest = parts.pop();
    return parts.map(part => {
      const event = {};
      for (const line of part.split("\n")) {
        const at = line.indexOf(":");
        if (at > 0) event[line.slice(0, at)] = line.slice(at + 1).replace(/^ /, "");
      }
      return event;
    });
  }
}

const RETRY_MS_MAX = 10_000;
const SILENT_MS_MAX = 25_000; // there is a comment every 15 s: whoever is silent for longer is gone

/**
 * Listen for ever, reconnecting by itself. `tell` hears {kind: "open" | "lost" | "refused" | "picture" | "change" | "away", …}.
 * Returns a function that ends it.
 */
export function listen({ url, token, tell, fetching = fetch }) {
  let lastId = "", retryMs = 1_000, tries = 0, over = false, abort = new AbortController();

  async function once() {
    abort = new AbortController();
    let silence = setTimeout(() => abort.abort(), SILENT_MS_MAX);
    try {
      const headers = { accept: "text/event-stream" };
      if (token) headers.authorization = `Bearer ${token}`;
      if (lastId) headers["last-event-id"] = lastId;
      const answer = await fetching(url, { headers, signal: abort.signal, cache: "no-store" });
      if (answer.status === 401) { over = true; tell({ kind: "refused" }); return; }
      if (!answer.ok) return;
      tell({ kind: "open" });
      const events = new Events(), words = new TextDecoder(), reader = answer.body.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done || over) return;
        clearTimeout(silence);
        silence = setTimeout(() => abort.abort(), SILENT_MS_MAX);
        for (const event of events.take(words.decode(value, { stream: true }))) {
          if (event.retry) retryMs = Number(event.retry);
          if (event.id) lastId = event.id;
          if (event.event) { tries = 0; tell({ kind: event.event, data: JSON.parse(event.data) }); }
        }
      }
    } catch (problem) {
      if (!(problem instanceof TypeError || problem.name === "AbortError")) throw problem; // a bug of ours is to be seen
    } finally {
      clearTimeout(silence);
    }
  }

  (async () => {
    while (!over) {
      await once();
      if (over) return;
      tell({ kind: "lost" });
      await new Promise(done => setTimeout(done, Math.min(RETRY_MS_MAX, retryMs * 2 ** Math.min(tries++, 4)) * (0.75 + Math.random() / 2)));
    }
  })();
  return () => { over = true; abort.abort(); };
}
