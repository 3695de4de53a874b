// What happens now, for all views: by events while the gateway has them, else asked for every few seconds. Nothing is
// asked for while the page is hidden.

import { events, Problem, read, sleep } from "./api.js";
import { useEffect, useState } from "./preact-htm.js";

const POLL_EVERY_S = 5;
const SAMPLE_EVERY_S = 2;
const SAMPLES = 60;
const LONGEST_PAUSE_S = 15;
const NEWEST = 10;

const NOTHING_YET = { mode: "connecting", queues: null, results: null, deadLetters: null, workers: null, recent: null };
let state = NOTHING_YET;
let running = null;
const listeners = new Set();
const depths = new Map();

/** The state now; the component is drawn again when it changes. */
export function useLive() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const listener = () => redraw((count) => count + 1);
    listeners.add(listener);
    if (listeners.size === 1) start();
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) stop();
    };
  }, []);
  return state;
}

/** Begin anew, as somebody else. */
export function restart() {
  stop();
  depths.clear();
  set(NOTHING_YET);
  if (listeners.size) start();
}

export const keyOf = (queue) => JSON.stringify([queue.model, queue.version, queue.priority]);

/** The depths of a queue, every two seconds, oldest first. */
export const samplesOf = (queue) => depths.get(keyOf(queue)) ?? [];

function set(changes) {
  state = { ...state, ...changes };
  listeners.forEach((listener) => listener());
}

function start() {
  running = new AbortController();
  follow(running.signal).catch(() => {});
  const timer = setInterval(sample, SAMPLE_EVERY_S * 1000);
  running.signal.addEventListener("abort", () => clearInterval(timer));
}

function stop() {
  running?.abort();
  running = null;
}

function sample() {
  if (state.mode !== "live") return;
  const known = new Set();
  for (const queue of state.queues ?? []) {
    known.add(keyOf(queue));
    depths.set(keyOf(queue), [...samplesOf(queue), queue.depth].slice(-SAMPLES));
  }
  for (const key of depths.keys()) if (!known.has(key)) depths.delete(key);
  set({});
}

async function follow(signal) {
  for (let failures = 0; !signal.aborted; ) {
    await visible(signal);
    const turn = new AbortController();
    const end = () => turn.abort();
    const hide = () => document.hidden && end();
    signal.addEventListener("abort", end);
    document.addEventListener("visibilitychange", hide);
    try {
      await (state.mode === "polling" ? poll(turn.signal) : listen(turn.signal));
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && [403, 404].includes(error.status)) set({ mode: "polling" });
      else if (error instanceof Problem && error.status === 401) return set({ mode: "refused" });
      else if (!turn.signal.aborted) {
        failures += 1;
        set({ mode: state.mode === "polling" ? "polling" : "lost" });
        await sleep(Math.min(LONGEST_PAUSE_S, failures) * (0.5 + Math.random() / 2), signal);
      }
    } finally {
      signal.removeEventListener("abort", end);
      document.removeEventListener("visibilitychange", hide);
    }
  }
}

async function visible(signal) {
  if (!document.hidden) return;
  const before = state.mode;
  set({ mode: "paused" });
  await new Promise((resolve) => {
    const shown = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", shown);
      resolve();
    };
    document.addEventListener("visibilitychange", shown);
    signal.addEventListener("abort", shown);
  });
  if (!signal.aborted) set({ mode: before === "polling" ? "polling" : "connecting" });
}

async function listen(signal) {
  for await (const { event, data } of events("/api/v1/events", { signal })) {
    if (event === "queues") set({ mode: "live", queues: data.queues, results: data.results, deadLetters: data.dead_letters });
    else if (event === "workers") set({ mode: "live", workers: data.workers });
    else if (event === "predictions") set({ mode: "live", recent: data.items });
  }
  if (!signal.aborted) await sleep(1, signal);
}

async function poll(signal) {
  const [models, newest] = await Promise.allSettled([
    read("/api/v1/models", { signal }),
    read("/api/v1/predictions", { query: { limit: NEWEST }, signal }),
  ]);
  if (models.status === "rejected") throw models.reason;
  set({ queues: queuesOf(models.value.items), recent: newest.value?.items ?? state.recent });
  await sleep(POLL_EVERY_S, signal);
}

/** Without events only the number of workers is known of a queue. */
const queuesOf = (models) =>
  models.flatMap(({ name, versions }) =>
    versions
      .filter((each) => each.is_active)
      .map(({ version, workers }) => ({ model: name, version, priority: "interactive", workers })),
  );
