// What is going on, and a model to try.

import { duration, number, rate, text } from "./format.js";
import { Recent } from "./listed.js";
import { samplesOf, keyOf, useLive } from "./live.js";
import { Badge, Card, Sparkline, Table } from "./parts.js";
import { html } from "./preact-htm.js";
import { to } from "./route.js";
import { Try } from "./try.js";

export function Overview({ route }) {
  const live = useLive();
  return html`<div>
    <h1>Overview</h1>
    <${Tiles} live=${live} />
    <div class="halves">
      <${Try} asked=${route.query} />
      <${Card} title="Latest predictions" aside=${html`<a href=${to("predictions")}>All</a>`}>
        <${Recent} items=${live.recent ?? []} empty=${emptyOf(live)} />
      <//>
    </div>
    <${Card} title="Queues" aside=${html`<span class="soft">one for each active version; those of batch while something is in them</span>`}><${Queues} live=${live} /><//>
    ${live.workers && html`<${Card} title="Workers"><${Workers} workers=${live.workers} /><//>`}
  </div>`;
}

const emptyOf = ({ recent, mode }) => (recent ? "None yet: try a model." : mode === "live" ? "You may not read any." : "Loading …");

const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);

function Tiles({ live }) {
  const queues = live.queues ?? [];
  const told = live.queues !== null && queues.every((each) => Number.isFinite(each.depth));
  const served = new Map(queues.map((each) => [`${each.model}:${each.version}`, each.workers]));
  const unserved = [...served.values()].filter((workers) => !workers).length;
  const workers = live.workers?.length;
  const tiles = [
    ["Waiting", told ? number(sum(queues.map((each) => each.depth - (each.running ?? 0)))) : "–"],
    ["Running", told ? number(sum(queues.map((each) => each.running))) : "–"],
    ["Workers", number(workers ?? Math.max(0, ...served.values()))],
    ["Unserved versions", live.queues ? number(unserved) : "–", unserved > 0 && "bad"],
    ["To be stored", number(live.results ?? NaN)],
    ["Dead letters", number(live.deadLetters ?? NaN), live.deadLetters > 0 && "warn"],
  ];
  return html`<dl class="tiles">
    ${tiles.map(([name, value, kind]) => html`<div class=${kind || ""}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

const COLUMNS = [
  { name: "Model", cell: (queue) => html`<a href=${to("models", queue.model)} class="name">${queue.model}</a> <span class="soft">${queue.version}</span>` },
  { name: "Priority", cell: (queue) => queue.priority },
  { name: "Waiting and running", kind: "num", cell: (queue) => number(queue.depth ?? NaN) },
  { name: "Running", kind: "num", cell: (queue) => number(queue.running ?? NaN) },
  { name: "Oldest", kind: "num", cell: (queue) => duration(queue.depth ? queue.oldest_s : NaN) },
  { name: "Drains", kind: "num", cell: (queue) => rate(queue.drains_per_s ?? NaN) },
  { name: "Empty in", kind: "num", cell: (queue) => (queue.depth === 0 ? "is empty" : duration(queue.eta_s ?? NaN)) },
  { name: "Last two minutes", cell: (queue) => html`<${Sparkline} values=${samplesOf(queue)} name="depth" />` },
  { name: "Workers", kind: "num", cell: (queue) => (queue.workers ? number(queue.workers) : html`<${Badge} kind="bad">nobody serves it<//>`) },
];

function Queues({ live }) {
  const shown = (live.queues ?? []).filter((each) => each.priority !== "batch" || each.depth);
  const queues = shown.sort((one, other) => (other.depth ?? 0) - (one.depth ?? 0));
  return html`<div>
    ${live.mode === "polling" && html`<p class="note">This gateway sends no events, so depth and rate are not known here.</p>`}
    <${Table} caption="Queues" columns=${COLUMNS} rows=${queues} keyOf=${keyOf} classOf=${(queue) => (queue.workers ? "" : "unserved")}
      empty=${live.queues ? "No version is active." : "Loading …"} />
  </div>`;
}

const WORKER_COLUMNS = [
  { name: "Worker", cell: (worker) => html`<span class="mono">${worker.id}</span>` },
  { name: "Host", cell: (worker) => text(worker.host) },
  { name: "Up for", kind: "time", cell: (worker) => duration((Date.now() - new Date(worker.started_at)) / 1000) },
  { name: "In flight", kind: "num", cell: (worker) => number(worker.in_flight ?? NaN) },
  {
    name: "Versions",
    cell: (worker) => Object.entries(worker.states ?? {}).map(([label, state]) => html`<span class="pair">${label} <${Badge} kind=${state === "ready" ? "good" : text(state).startsWith("fail") ? "bad" : "info"}>${text(state)}<//></span> `),
  },
];

const Workers = ({ workers }) =>
  html`<${Table} caption="Workers" columns=${WORKER_COLUMNS} rows=${workers} keyOf=${(each) => each.id} empty="No worker is alive." />`;
