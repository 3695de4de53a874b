// Experiments: which models have one, what came of it, and starting and stopping.

import { call, Problem, read } from "./api.js";
import { duration, moment, number, part, percent, text } from "./format.js";
import { Alert, Badge, Bars, Busy, Card, Confirm, Facts, Table, useLoaded } from "./parts.js";
import { html, useState } from "./preact-htm.js";
import { to } from "./route.js";

const AT_ONCE = 4;
const MOST_MODELS = 100;

const pathOf = (name) => `/api/v1/models/${part(name)}/experiment`;

/** An experiment, or null if the model never had one. */
async function experimentOf(name, path, signal) {
  try {
    return await read(`${pathOf(name)}${path}`, { signal });
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

export const Experiments = ({ route }) => (route.name ? html`<${Experiment} name=${route.name} />` : html`<${All} />`);

async function loadAll(signal) {
  const models = (await read("/api/v1/models", { signal })).items.slice(0, MOST_MODELS);
  const found = [];
  for (let at = 0; at < models.length; at += AT_ONCE) {
    const some = models.slice(at, at + AT_ONCE);
    const experiments = await Promise.all(some.map((each) => experimentOf(each.name, "", signal)));
    found.push(...some.map((model, number) => ({ name: model.name, versions: model.versions, experiment: experiments[number] })));
  }
  return found;
}

const COLUMNS = [
  { name: "Model", cell: ({ name }) => html`<a href=${to("experiments", name)} class="name">${name}</a>` },
  { name: "Experiment", cell: ({ experiment }) => html`<${State} experiment=${experiment} />` },
  { name: "Arms", cell: ({ experiment }) => experiment?.arms.map((each) => `${each.name} (${each.version})`).join(", ") ?? "–" },
  { name: "Started", cell: ({ experiment }) => (experiment ? moment(experiment.started_at) : "–") },
];

function State({ experiment }) {
  if (!experiment) return html`<${Badge} kind="plain">none yet<//>`;
  return experiment.stopped_at ? html`<${Badge} kind="plain">stopped<//>` : html`<${Badge} kind="good">runs<//>`;
}

function All() {
  const { value, error, busy } = useLoaded(loadAll, []);
  return html`<div><h1>Experiments</h1>
    <p class="soft">An experiment gives each version a share of a model's requests, and says which does better.</p>
    <${Alert} error=${error} /><${Busy} when=${busy} />
    ${value && html`<section class="card" aria-label="Experiments"><${Table} caption="Experiments" columns=${COLUMNS} rows=${value} keyOf=${(each) => each.name} empty="There is no model." /></section>`}</div>`;
}

function Experiment({ name }) {
  const load = async (signal) => {
    const [model, results] = await Promise.all([read(`/api/v1/models/${part(name)}`, { signal }), experimentOf(name, "/results", signal)]);
    return { model, results };
  };
  const { value, error, busy, again } = useLoaded(load, [name]);
  const [told, tell] = useState(null);
  const change = async (said, method, body) => {
    try {
      await call(method, pathOf(name), { body });
      tell({ said });
    } catch (failure) {
      tell({ failure });
    }
    again();
  };
  const runs = value?.results && !value.results.stopped_at;
  return html`<div>
    <p><a href=${to("experiments")}>All experiments</a></p>
    <h1>Experiment of <span class="name">${name}</span></h1>
    <${Alert} error=${error} /><${Alert} error=${told?.failure} />
    ${told?.said && html`<p class="note" role="status">${told.said}</p>`}
    <${Busy} when=${busy && !value} />
    ${value?.results && html`<${Results} results=${value.results} />`}
    ${value && !value.results && html`<p class="empty">This model has had no experiment.</p>`}
    ${runs && html`<${Stop} change=${change} />`}
    ${value && html`<${Start} versions=${usable(value.model)} runs=${runs} change=${change} />`}
  </div>`;
}

/** The versions that may take part; the default first, as the control. */
const usable = (model) => model.versions.filter((each) => each.is_active).sort((one, other) => other.is_default - one.is_default);

function Stop({ change }) {
  const [ask, setAsk] = useState(null);
  const stop = { title: "Stop the experiment?", text: "All requests go to the default version again. Its results stay.", action: "Stop it", run: () => change("It was stopped.", "DELETE") };
  return html`<div class="above"><button type="button" class="danger" onClick=${() => setAsk(stop)}>Stop the experiment</button><${Confirm} ask=${ask} close=${() => setAsk(null)} /></div>`;
}

const VERDICTS = new Map([
  ["higher", "higher than the control"],
  ["lower", "lower than the control"],
  ["undecided", "no difference is certain"],
  ["too_few", "too few yet"],
  ["invalid", "cannot be compared"],
]);

const METRICS = [
  ["failure_rate", "Failures", (value) => percent(value)],
  ["latency_ms", "Latency", (value) => duration(value / 1000)],
  ["confidence", "Confidence", (value) => percent(value)],
  ["accuracy", "Right answers", (value) => percent(value)],
];

const ARM_COLUMNS = [
  { name: "Arm", cell: (arm) => html`<span class="name">${arm.name}</span> <span class="soft">${arm.version}</span>` },
  { name: "Share", kind: "num", cell: (arm) => percent(arm.share, 0) },
  { name: "Subjects", kind: "num", cell: (arm) => number(arm.subjects) },
  { name: "Requests", kind: "num", cell: (arm) => number(arm.requests) },
  ...METRICS.map(([metric, name, format]) => ({ name, kind: "num", cell: (arm) => html`<${Measured} ...${{ arm, metric, format }} />` })),
];

function Measured({ arm, metric, format }) {
  const value = metric === "latency_ms" ? arm.mean_latency_ms : arm[metric];
  const compared = arm.compared?.[metric];
  return html`<span>${Number.isFinite(value) ? format(value) : "–"}${compared && html`<br /><span class="soft">${VERDICTS.get(compared.verdict) ?? text(compared.verdict)}</span>`}</span>`;
}

const Results = ({ results }) => html`<${Card} title="Results" aside=${html`<${State} experiment=${results} />`}>
    ${results.valid === false && html`<p class="alert">The numbers of subjects are too uneven: those of one arm were lost, so the arms cannot be compared.</p>`}
    <p class="soft">Started ${moment(results.started_at)}${results.stopped_at ? `, stopped ${moment(results.stopped_at)}` : ""}. ${number(results.requests_examined)} requests looked at${results.complete ? "" : ", the first ones only"}. The first arm is the control.</p>
    <${Table} caption="Arms" columns=${ARM_COLUMNS} rows=${results.arms} keyOf=${(arm) => arm.name} />
    <div class="halves">
      ${results.arms.filter((arm) => arm.requests > 0 && Object.keys(arm.labels).length).map((arm) => html`<div>
        <h3>Answers of ${arm.name}</h3>
        <${Bars} items=${Object.entries(arm.labels).slice(0, 8).map(([label, count]) => [label, count / arm.requests])} />
      </div>`)}
    </div>
    ${results.shadow && html`<h3>Shadow</h3><${Facts} items=${[
      ["Version", results.shadow.version], ["Share of requests", percent(results.shadow.share)], ["Copies", number(results.shadow.copies)],
      ["Failures", number(results.shadow.failures)], ["Same answer", percent(results.shadow.agreement ?? NaN)],
    ]} />`}
  <//>`;

function Start({ versions, runs, change }) {
  const first = versions[0];
  const [arms, setArms] = useState(() => versions.slice(0, 2).map((each) => ({ version: each.version, weight: "1" })));
  const [shadow, setShadow] = useState({ version: "", share: "0.1" });
  if (!first) return null;
  const submit = (event) => {
    event.preventDefault();
    const body = { arms: arms.map((arm) => ({ version: arm.version, weight: Number(arm.weight) })) };
    if (shadow.version) body.shadow = { version: shadow.version, share: Number(shadow.share) };
    change("It runs.", "PUT", body);
  };
  const setArm = (at, changes) => setArms((now) => now.map((arm, number) => (number === at ? { ...arm, ...changes } : arm)));
  const choices = versions.map((each) => html`<option value=${each.version}>${each.version}</option>`);
  return html`<${Card} title=${runs ? "Start another in its place" : "Start one"}>
    <form onSubmit=${submit}>
      ${arms.map((arm, at) => html`<fieldset class="row"><legend>${at ? `Arm ${at + 1}` : "Control"}</legend>
        <div class="field"><label for=${`arm-${at}`}>Version</label><select id=${`arm-${at}`} value=${arm.version} onChange=${(event) => setArm(at, { version: event.target.value })}>${choices}</select></div>
        <div class="field"><label for=${`weight-${at}`}>Weight</label><input id=${`weight-${at}`} type="number" min="1" step="1" value=${arm.weight} onInput=${(event) => setArm(at, { weight: event.target.value })} /></div>
        ${arms.length > 1 && html`<button type="button" class="small" onClick=${() => setArms((now) => now.filter((_, number) => number !== at))}>Remove</button>`}
      </fieldset>`)}
      <fieldset class="row"><legend>Shadow</legend>
        <div class="field"><label for="shadow">Version that answers nobody</label><select id="shadow" value=${shadow.version} onChange=${(event) => setShadow((now) => ({ ...now, version: event.target.value }))}><option value="">none</option>${choices}</select></div>
        <div class="field"><label for="share">Share of requests</label><input id="share" type="number" min="0.01" max="1" step="0.01" value=${shadow.share} onInput=${(event) => setShadow((now) => ({ ...now, share: event.target.value }))} /></div>
      </fieldset>
      <div class="row actions">
        <button type="button" disabled=${arms.length >= 10} onClick=${() => setArms((now) => [...now, { version: first.version, weight: "1" }])}>Another arm</button>
        <button type="submit" class="primary">Start</button>
      </div>
    </form>
  <//>`;
}
