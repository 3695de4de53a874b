// Models: what each version takes and gives, who serves it, and what administrators may change.

import { call, read, readPatiently } from "./api.js";
import { number, part, percent, text } from "./format.js";
import { Alert, Badge, Bars, Busy, Card, Confirm, Facts, Json, Table, useLoaded } from "./parts.js";
import { html, useState } from "./preact-htm.js";
import { to } from "./route.js";

const NEWEST = 100;
const UNLABELLED = "without a label";

export const Models = ({ route }) => (route.name ? html`<${Model} name=${route.name} />` : html`<${All} />`);

const COLUMNS = [
  { name: "Model", cell: (model) => html`<a href=${to("models", model.name)} class="name">${model.name}</a>` },
  { name: "Task", cell: (model) => model.task },
  { name: "Description", kind: "wide", cell: (model) => model.description },
  { name: "Versions", cell: (model) => model.versions.map((each) => html`<span class="pair">${each.version} <${State} version=${each} /></span> `) },
];

function All() {
  const { value: models, error, busy } = useLoaded(async (signal) => (await read("/api/v1/models", { signal })).items, []);
  return html`<div><h1>Models</h1>
    <${Alert} error=${error} /><${Busy} when=${busy} />
    ${models && html`<section class="card" aria-label="Models"><${Table} caption="Models" columns=${COLUMNS} rows=${models} keyOf=${(each) => each.name} empty="There is no model that you may use." /></section>`}</div>`;
}

function State({ version }) {
  if (version.load_error) return html`<${Badge} kind="bad">cannot be loaded<//>`;
  if (!version.is_active) return html`<${Badge} kind="plain">inactive<//>`;
  if (!version.workers) return html`<${Badge} kind="bad">nobody serves it<//>`;
  return html`<${Badge} kind="good">${version.workers === 1 ? "1 worker" : `${version.workers} workers`}<//>`;
}

const pathOf = (name) => `/api/v1/models/${part(name)}`;

function Model({ name }) {
  const load = async (signal) => {
    const { body, headers } = await call("GET", pathOf(name), { signal });
    return { model: body, etag: headers.get("ETag") };
  };
  const { value, error, busy, again } = useLoaded(load, [name]);
  const [ask, setAsk] = useState(null);
  const [told, tell] = useState(null);
  const change = async (said, method, path, options) => {
    try {
      await call(method, `${pathOf(name)}${path}`, options);
      tell({ said });
    } catch (failure) {
      tell({ failure });
    }
    again();
  };
  return html`<div>
    <p><a href=${to("models")}>All models</a></p>
    <h1 class="name">${name}</h1>
    <${Alert} error=${error} /><${Alert} error=${told?.failure} />
    ${told?.said && html`<p class="note" role="status">${told.said}</p>`}
    <${Busy} when=${busy && !value} />
    ${value && html`<div>
      <p class="soft">${value.model.task}${value.model.group ? `, group ${value.model.group}` : ""}: ${value.model.description}</p>
      ${value.model.versions.map((version) => html`<${Version} key=${version.version} ...${{ model: value.model, version, etag: value.etag, change, ask: setAsk }} />`)}
      <${Lately} name=${name} />
    </div>`}
    <${Confirm} ask=${ask} close=${() => setAsk(null)} />
  </div>`;
}

const Version = ({ model, version, etag, change, ask }) =>
  html`<${Card} title=${version.version} aside=${html`<span class="row">${version.is_default && html`<${Badge} kind="info">default<//>`}<${State} version=${version} /></span>`}>
    ${version.load_error && html`<p class="alert">${version.load_error}</p>`}
    <${Facts} items=${[
      ...Object.entries(version.drift ?? {}).map(([signal, index]) => [`Drift of ${signal}`, html`<${Drift} index=${index} />`]),
      ["Artifact", version.digest ? html`<span class="mono">${version.digest}</span>` : "from the catalogue"],
      ...Object.entries(version.limits ?? {}).map(([name, value]) => [`At most, ${name}`, value === null ? undefined : typeof value === "number" ? number(value) : text(value)]),
    ]} />
    ${version.states?.length > 0 && html`<h3>Workers</h3><ul class="plain">${version.states.map((each) => html`<li><span class="mono">${each.worker}</span> <${Badge} kind=${each.state === "ready" ? "good" : each.reason ? "bad" : "info"}>${each.state}<//> ${each.reason ?? ""}</li>`)}</ul>`}
    ${["input", "options", "output"].map((each) => version.schemas?.[each] && html`<details><summary>What it ${each === "output" ? "gives" : each === "input" ? "takes" : "takes as options"}</summary><${Json} value=${version.schemas[each]} /></details>`)}
    ${version.schemas?.example !== undefined && html`<details><summary>An example</summary><${Json} value=${version.schemas.example} /></details>`}
    <div class="row actions">
      ${version.is_active && html`<a class="button" href=${to("overview", "", { model: model.name, version: version.version })}>Try it</a>`}
      <${Changes} ...${{ model, version, etag, change, ask }} />
    </div>
  <//>`;

// How the alert MillstreamDrift and the dashboards read a population stability index.
const Drift = ({ index }) =>
  html`<span class="mono">${index.toFixed(2)}</span> <${Badge} kind=${index > 0.25 ? "bad" : index > 0.1 ? "info" : "good"}>${index > 0.25 ? "moved" : index > 0.1 ? "moved a little" : "steady"}<//>`;

/** What administrators may do; a model is only told its workers' states to them. */
function Changes({ model, version, etag, change, ask }) {
  if (!version.states) return null;
  const named = `${model.name} ${version.version}`;
  const path = `/versions/${part(version.version)}`;
  const activate = { title: `Activate ${named}?`, text: "Workers load it, and requests may name it.", action: "Activate", run: () => change(`${named} is active.`, "POST", `${path}/activate`) };
  const deactivate = { title: `Deactivate ${named}?`, text: "Requests may not name it any more. What waits for it is computed, then workers unload it.", action: "Deactivate", run: () => change(`${named} is inactive.`, "POST", `${path}/deactivate`) };
  const standard = { title: `Make ${named} the default?`, text: "Requests that name no version go to it from now on.", action: "Make it the default", run: () => change(`${named} is the default.`, "PUT", "/default", { body: { version: version.version }, headers: { "If-Match": etag } }) };
  return html`<div class="row">
    ${!version.is_active && html`<button type="button" onClick=${() => ask(activate)}>Activate</button>`}
    ${version.is_active && !version.is_default && html`<button type="button" onClick=${() => ask(standard)}>Make default</button>`}
    ${version.is_active && !version.is_default && html`<button type="button" class="danger" onClick=${() => ask(deactivate)}>Deactivate</button>`}
  </div>`;
}

/** Whether its answers have moved: the newest against the ones before them, by label. */
function Lately({ name }) {
  const load = async (signal) => {
    const query = { model: name, status: "succeeded", limit: NEWEST };
    const first = await readPatiently("/api/v1/predictions", { query, signal });
    const before = first.next_cursor ? await readPatiently("/api/v1/predictions", { query: { ...query, cursor: first.next_cursor }, signal }) : { items: [] };
    return [first.items, before.items];
  };
  const { value, error } = useLoaded(load, [name]);
  if (error) return html`<${Card} title="Recent answers"><${Alert} error=${error} /><//>`;
  if (!value?.[0].length) return null;
  const [newest, before] = value;
  const [shares, sharesBefore] = [sharesOf(newest), sharesOf(before)];
  return html`<${Card} title="Recent answers" aside=${html`<a href=${to("predictions", "", { model: name })}>All</a>`}>
    <p class="soft">
      The newest ${number(newest.length)}${before.length ? `, beside the ${number(before.length)} before them` : ""}.
    </p>
    ${!shares.has(UNLABELLED) || shares.size > 1 ? html`<${Bars} items=${[...shares.keys()].slice(0, 10).map((label) => [label, shares.get(label)])} />` : ""}
    ${before.length > 0 && html`<p>Before: ${[...sharesBefore].slice(0, 10).map(([label, share]) => `${label} ${percent(share, 0)}`).join(", ")}.</p>`}
    <${Facts} items=${[["Mean confidence", percent(mean(newest))], ["Before", before.length ? percent(mean(before)) : undefined]]} />
  <//>`;
}

function sharesOf(items) {
  const counts = new Map();
  for (const { result } of items) {
    const label = typeof result?.label === "string" ? result.label : UNLABELLED;
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return new Map([...counts].sort(([, one], [, other]) => other - one).map(([label, count]) => [label, count / items.length]));
}

function mean(items) {
  const known = items.map((each) => each.confidence).filter(Number.isFinite);
  return known.length ? known.reduce((total, value) => total + value, 0) / known.length : NaN;
}
