// Following one prediction to its end: by its events while the gateway has them, else by waiting for it.

import { call, events, Problem, readPatiently, sleep } from "./api.js";
import { part } from "./format.js";

const WAIT_S = 20;
const MOST_BREAKS = 20;

export const isOpen = (item) => item.status === "queued" || item.status === "running";

export const pathOf = (id) => `/api/v1/predictions/${part(id)}`;

/** Tell `show` each new state of a prediction, and `token` each piece of its text, until it is finished. */
export async function follow(id, show, token, signal) {
  let lastId = "";
  for (let breaks = 0; breaks < MOST_BREAKS; breaks++) {
    try {
      for await (const { event, data, id: number } of events(`${pathOf(id)}/events`, { signal, lastId })) {
        lastId = number || lastId;
        if (event === "token") token(data.text);
        else if (event === "progress") show((before) => ({ ...before, progress: data.progress }));
        else if (event === "state" || event === "result") show(() => data);
        if (event === "result") return;
      }
    } catch (error) {
      if (signal.aborted) throw error;
      if (error instanceof Problem && error.status === 404) return await wait(id, show, signal);
      if (error instanceof Problem && [401, 403].includes(error.status)) throw error;
    }
    await sleep(Math.min(5, 0.5 + breaks), signal);
    const now = await readPatiently(pathOf(id), { signal });
    show(() => now);
    if (!isOpen(now)) return;
  }
  throw new Error("The connection broke too often; load the page again to go on.");
}

async function wait(id, show, signal) {
  for (;;) {
    const now = await readPatiently(pathOf(id), { query: { wait: WAIT_S }, signal });
    show(() => now);
    if (!isOpen(now)) return;
    await sleep(0.5, signal);
  }
}

/** Cancel a prediction; what is to be said of it. */
export async function cancel(id) {
  const { status } = await call("DELETE", pathOf(id));
  return status === 202 ? "It runs: it was told to stop." : "It was cancelled.";
}
