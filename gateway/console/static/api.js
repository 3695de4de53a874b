// Calls to the API. A credential is kept in the memory of this page only, and leaves it only in the header of a call.

import { part } from "./format.js";

const MOST_TRIES = 6;
const LONGEST_PAUSE_S = 10;

let credential = "";
let whenRefused = () => {};

/** What to do when the API asks who this is. */
export const onRefused = (action) => {
  whenRefused = action;
};

export const signIn = (value) => {
  credential = value.trim();
};

export const signedIn = () => credential !== "";

/** An answer that is no success, with the words of the API. */
export class Problem extends Error {
  constructor(status, body, retryAfter = 0) {
    super(body.detail || body.title || `the gateway answered ${status}`);
    this.status = status;
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.predictionId = body.prediction_id;
    this.retryAfter = retryAfter;
  }
}

export const sleep = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

const withQuery = (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `${path}?${given.map(([name, value]) => `${part(name)}=${part(value)}`).join("&")}` : path;
};

async function request(method, path, { query, body, headers = {}, signal } = {}) {
  const sent = { Accept: "application/json", ...headers };
  if (credential) sent.Authorization = `Bearer ${credential}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const options = { method, headers: sent, signal, cache: "no-store", credentials: "omit", redirect: "error" };
  let response;
  try {
    response = await fetch(withQuery(path, query), { ...options, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, { detail: "The gateway cannot be reached." });
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  const problem = new Problem(response.status, body ?? {}, Number(response.headers.get("Retry-After")) || 0);
  if (response.status === 401) whenRefused(problem);
  return problem;
}

/** Call the API: its status, body (null if there is none) and headers. Raises a Problem. */
export async function call(method, path, options) {
  const response = await request(method, path, options);
  const raw = await response.text();
  return { status: response.status, body: raw ? JSON.parse(raw) : null, headers: response.headers };
}

export const read = async (path, options) => (await call("GET", path, options)).body;

/** As `read`, but waits as long as it is told to when it asks too often. */
export async function readPatiently(path, options) {
  for (let tries = 1; ; tries++) {
    try {
      return await read(path, options);
    } catch (error) {
      const busy = error instanceof Problem && [429, 503].includes(error.status);
      if (!busy || tries >= MOST_TRIES) throw error;
      await sleep(Math.min(LONGEST_PAUSE_S, error.retryAfter || tries), options?.signal);
    }
  }
}

// --- server-sent events, read with fetch, since EventSource sends no Authorization -----------------------------------

const MOST_EVENT_CHARS = 16_000_000;

/** The events of a stream, until it ends: `{event, data, id}`, with `data` parsed. Raises a Problem. */
export async function* events(path, { signal, lastId } = {}) {
  const headers = { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
  const response = await request("GET", path, { headers, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield* parser.feed(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Takes pieces of a stream, cut anywhere, and gives the events that are whole. */
export class EventParser {
  #rest = "";
  #data = [];
  #event = "message";
  #id = "";

  *feed(piece) {
    this.#rest += piece;
    if (this.#rest.length > MOST_EVENT_CHARS) throw new Error("an event is too long");
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") yield* this.#whole();
      else this.#take(line);
    }
  }

  #take(line) {
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (name === "data") this.#data.push(value ?? "");
    else if (name === "event") this.#event = value ?? "";
    else if (name === "id") this.#id = value ?? "";
  }

  *#whole() {
    const [data, event] = [this.#data.join("\n"), this.#event];
    this.#data = [];
    this.#event = "message";
    if (data) yield { event, data: JSON.parse(data), id: this.#id };
  }
}
