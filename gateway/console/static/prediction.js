// One prediction: what became of it when, what it was made of, and what was answered.

import { Answer } from "./answer.js";
import { call, read } from "./api.js";
import { cancel, follow, isOpen, pathOf } from "./follow.js";
import { acceptedAt, duration, isId, moment, percent, text } from "./format.js";
import { Alert, Badge, Busy, Card, Confirm, Copy, Facts, Json, Status } from "./parts.js";
import { html, useEffect, useState } from "./preact-htm.js";
import { to } from "./route.js";
import { Waiting } from "./try.js";

export function Prediction({ route }) {
  const id = route.name.toLowerCase();
  const { item, tokens, error } = useFollowed(id);
  return html`<div>
    <p><a href=${to("predictions")}>All predictions</a></p>
    <h1>Prediction <span class="mono id">${id}</span></h1>
    <${Alert} error=${error} />
    <${Busy} when=${!item && !error} />
    ${item && html`<${Whole} item=${item} tokens=${tokens} />`}
  </div>`;
}

function useFollowed(id) {
  const [state, setState] = useState({ tokens: "" });
  useEffect(() => {
    const leaving = new AbortController();
    const { signal } = leaving;
    const show = (change) => signal.aborted || setState((now) => ({ ...now, item: change(now.item) }));
    const token = (piece) => signal.aborted || setState((now) => ({ ...now, tokens: now.tokens + piece }));
    const run = async () => {
      if (!isId(id)) throw new Error("This is no id of a prediction.");
      const item = await read(pathOf(id), { signal });
      show(() => item);
      if (isOpen(item)) {
        await follow(id, show, token, signal);
        const finished = await read(pathOf(id), { signal });
        show(() => finished);
      }
    };
    run().catch((error) => signal.aborted || setState((now) => ({ ...now, error })));
    return () => leaving.abort();
  }, [id]);
  return state;
}

function Whole({ item, tokens }) {
  const asked = inputOf(item);
  return html`<div>
    <div class="row above"><${Status} status=${item.status} /> <${Actions} item=${item} asked=${asked} /></div>
    ${isOpen(item) && html`<${Waiting} item=${item} />`}
    <div class="halves">
      <${Card} title="Answer">
        ${isOpen(item) && (tokens ? html`<blockquote>${tokens}</blockquote>` : html`<p class="empty">Not there yet.</p>`)}
        ${item.error && html`<p class="alert">${item.error}</p>`}
        ${item.result && html`<${Answer} result=${item.result} input=${asked.body?.input} />`}
      <//>
      <${Card} title="Timeline"><${Timeline} item=${item} /><//>
      <${Card} title="Input"><${Input} asked=${asked} item=${item} /><//>
      <${Card} title="Details"><${Details} item=${item} /><//>
    </div>
  </div>`;
}

/** The body that asks for the same again, or why there is none. */
function inputOf(item) {
  const { input, options, model, version } = item;
  if (input === undefined) return { why: "Nothing of the input was kept." };
  if (input?.text_hmac_sha256 || input?.input_hmac_sha256) return { why: "Only a digest of the input was kept." };
  const names = typeof input === "object" && input !== null ? Object.keys(input) : [];
  const isText = typeof input?.text === "string" && names.every((each) => each === "text" || each === "options");
  const given = isText ? { text: input.text } : { input };
  const chosen = isText ? input.options : options;
  return { body: { model, version, ...given, ...(chosen ? { options: chosen } : {}) } };
}

function Actions({ item, asked }) {
  const [told, tell] = useState(null);
  const [ask, setAsk] = useState(null);
  const attempt = async (action) => {
    try {
      tell({ said: await action() });
    } catch (error) {
      tell({ error });
    }
  };
  const again = () => attempt(async () => {
    const { body } = await call("POST", "/api/v1/predict", { query: { wait: 0 }, body: asked.body });
    location.hash = to("predictions", body.prediction_id);
    return "";
  });
  const stop = { title: "Cancel this prediction?", text: "It ends without an answer, and that cannot be taken back.", action: "Cancel it" };
  return html`<div class="row">
    ${isOpen(item) && html`<button type="button" class="danger" onClick=${() => setAsk({ ...stop, run: () => attempt(() => cancel(item.prediction_id)) })}>Cancel</button>`}
    ${item.model && !isOpen(item) && html`<button type="button" disabled=${!asked.body} title=${asked.why} onClick=${again}>Run again</button>`}
    <${Copy} value=${item.prediction_id} what="Copy the id" />
    ${told?.said && html`<span role="status">${told.said}</span>`}
    <${Alert} error=${told?.error} />
    <${Confirm} ask=${ask} close=${() => setAsk(null)} />
  </div>`;
}

/** The steps of a prediction, with when each was, as far as that is known. */
export function stepsOf(item) {
  const accepted = acceptedAt(item).getTime();
  const read = Number.isFinite(item.queue_time_ms) ? accepted + item.queue_time_ms : null;
  const ended = item.completed_at ? new Date(item.completed_at).getTime() : null;
  const computed = item.status === "succeeded" || item.status === "failed" ? "computed" : item.status;
  return [
    { name: "accepted", at: accepted, done: true },
    { name: "read by a worker", at: item.cached ? null : read, done: read !== null && !item.cached, note: item.cached ? "not needed: from the cache" : "" },
    { name: isOpen(item) ? "computed" : computed, at: ended, done: !isOpen(item), note: Number.isFinite(item.processing_time_ms) ? `${duration(item.processing_time_ms / 1000)} in the model` : "" },
    { name: "stored", at: null, done: item.stored === true, note: item.stored === true ? "in Postgres" : item.stored === false ? "not yet" : "" },
  ];
}

const Timeline = ({ item }) => {
  const steps = stepsOf(item);
  const start = steps[0].at;
  return html`<ol class="timeline">
    ${steps.map(
      ({ name, at, done, note }, step) => html`<li class=${done ? "done" : ""}>
        <strong>${name}</strong>${done ? "" : html` <span class="hidden">(not yet)</span>`}
        ${at !== null && html` <time datetime=${new Date(at).toISOString()}>${moment(at)}</time>`}
        <span class="soft"> ${[at !== null && step > 0 && `after ${duration((at - start) / 1000)}`, note].filter(Boolean).join(", ")}</span>
      </li>`,
    )}
  </ol>`;
};

function Input({ asked, item }) {
  if (!asked.body) return html`<div><p class="empty">${isOpen(item) ? "Shown once it is finished." : asked.why}</p>${item.input && html`<${Json} value=${item.input} />`}</div>`;
  const { text: given, input, options } = asked.body;
  return html`<div>${given === undefined ? html`<${Json} value=${input} />` : html`<blockquote>${given}</blockquote>`}
    ${options && html`<h3>Options</h3><${Json} value=${options} />`}</div>`;
}

function told({ state, attempts, last_error: error }) {
  const tried = attempts === 1 ? "tried once" : `tried ${number(attempts)} times`;
  const said = { waiting: attempts ? tried : "waits", delivered: "delivered", failed: "given up" }[state];
  return text(error ? `${said}: ${error}` : said);
}

const Details = ({ item }) =>
  html`<${Facts} items=${[
    ["Model", item.model && html`<a href=${to("models", item.model)} class="name">${item.model}</a>`],
    ["Version", item.version && text(item.version)],
    ["Confidence", item.confidence === null ? undefined : item.confidence && percent(item.confidence)],
    ["Attempt", item.attempt === undefined ? undefined : text(item.attempt + 1)],
    ["Worker", item.worker && html`<span class="mono">${text(item.worker)}</span>`],
    ["Priority", text(item.priority ?? "interactive")],
    ["From the cache", item.cached ? "yes" : undefined],
    ["Tags", item.tags && Object.entries(item.tags).map(([name, value]) => html`<${Badge} kind="plain">${name}: ${text(value)}<//> `)],
    ["Callback", item.callback && html`<span class="name">${item.callback.url}</span>: ${told(item.callback)}`],
    ["Trace", item.trace_id && html`<span class="mono">${text(item.trace_id)}</span> <${Copy} value=${item.trace_id} what="Copy" />`],
  ]} />`;
