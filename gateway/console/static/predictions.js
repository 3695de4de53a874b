// The history: filters that stand in the address, pages by their cursor, and what is filtered as a file.

import { read, readPatiently } from "./api.js";
import { csvHead, csvRow, jsonRow, number } from "./format.js";
import { Listed } from "./listed.js";
import { Alert, Busy, useLoaded } from "./parts.js";
import { html, useEffect, useRef, useState } from "./preact-htm.js";
import { to } from "./route.js";

const STATUSES = ["queued", "running", "succeeded", "failed", "expired", "cancelled"];
const FILTERS = ["model", "version", "status", "since", "until", "tag"];
const PAGE = 25;
const EXPORT_PAGE = 100;
const MOST_ROWS = 10_000;
const MOST_CHARS = 50_000_000;

/** The filters of an address as the API takes them: its times are in UTC. */
const filtersOf = (query) => Object.fromEntries(FILTERS.filter((each) => query[each]).map((each) => [each, asSent(each, query[each])]));

function asSent(name, value) {
  if (name !== "since" && name !== "until") return value;
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? value : date.toISOString();
}

export function Predictions({ route }) {
  const { query } = route;
  const asked = JSON.stringify(query);
  const load = (signal) => read("/api/v1/predictions", { query: { ...filtersOf(query), cursor: query.cursor, limit: PAGE }, signal });
  const { value: page, error, busy, again } = useLoaded(load, [asked]);
  const filtered = FILTERS.some((each) => query[each]);
  return html`<div>
    <h1>Predictions</h1>
    <${Filters} query=${query} />
    <section class="card" aria-label="Predictions" aria-busy=${busy ? "true" : "false"}>
      <div class="head"><${Export} query=${query} /><button type="button" onClick=${again}>Refresh</button></div>
      <${Alert} error=${error} />
      ${page ? html`<${Listed} items=${page.items} empty=${filtered ? "No prediction fits these filters." : "None yet: try a model in the overview."} />` : html`<${Busy} when=${busy} />`}
      <div class="row pages">
        ${query.cursor && html`<a class="button" href=${to("predictions", "", { ...query, cursor: "" })}>Newest</a>`}
        ${page?.next_cursor && html`<a class="button" href=${to("predictions", "", { ...query, cursor: page.next_cursor })}>Older</a>`}
      </div>
    </section>
  </div>`;
}

function Filters({ query }) {
  const { value: models } = useLoaded(async (signal) => (await read("/api/v1/models", { signal })).items, []);
  const [typed, type] = useState(query);
  useEffect(() => type(query), [JSON.stringify(query)]);
  const set = (name) => (event) => type((now) => ({ ...now, [name]: event.target.value, ...(name === "model" ? { version: "" } : {}) }));
  const apply = (event) => {
    event.preventDefault();
    location.hash = to("predictions", "", { ...typed, cursor: "" });
  };
  const names = withOwn((models ?? []).map((each) => each.name), typed.model);
  const versions = withOwn(models?.find((each) => each.name === typed.model)?.versions.map((each) => each.version) ?? [], typed.version);
  const choice = (name, label, choices) => html`<div class="field"><label for=${name}>${label}</label>
    <select id=${name} value=${typed[name] ?? ""} onChange=${set(name)} disabled=${name === "version" && !typed.model}>
      <option value="">any</option>${choices.map((each) => html`<option value=${each}>${each}</option>`)}
    </select></div>`;
  const box = (name, label, kind, placeholder) => html`<div class="field"><label for=${name}>${label}</label>
    <input id=${name} type=${kind} value=${typed[name] ?? ""} placeholder=${placeholder} step="1" onInput=${set(name)} /></div>`;
  return html`<form class="card filters" onSubmit=${apply} aria-label="Filters">
    ${choice("model", "Model", names)} ${choice("version", "Version", versions)} ${choice("status", "Status", STATUSES)}
    ${box("since", "Since", "datetime-local")} ${box("until", "Until", "datetime-local")} ${box("tag", "Tag", "text", "key:value")}
    <div class="row"><button type="submit" class="primary">Filter</button><a class="button" href=${to("predictions")}>Clear</a></div>
  </form>`;
}

/** Choices with the one that is chosen already, which may have gone. */
const withOwn = (choices, own) => (own && !choices.includes(own) ? [own, ...choices] : choices);

function Export({ query }) {
  const [told, tell] = useState("");
  const running = useRef(null);
  const run = async (kind) => {
    running.current?.abort();
    const { signal } = (running.current = new AbortController());
    try {
      const { pieces, rows, whole } = await collect(kind, filtersOf(query), (count) => tell(`${number(count)} rows …`), signal);
      save(pieces, kind);
      tell(whole ? `${number(rows)} rows saved.` : `The newest ${number(rows)} rows saved, which is the most at once: narrow the filters for the rest.`);
    } catch (error) {
      tell(signal.aborted ? "Stopped." : error.message);
    }
    if (running.current?.signal === signal) running.current = null;
  };
  return html`<div class="row">
    <button type="button" onClick=${() => run("csv")}>Export CSV</button>
    <button type="button" onClick=${() => run("jsonl")}>Export JSONL</button>
    ${running.current && html`<button type="button" onClick=${() => running.current?.abort()}>Stop</button>`}
    <span class="soft" role="status">${told}</span>
  </div>`;
}

/** The rows of a file: of what is filtered the newest, up to a bound of rows and of characters. */
export async function collect(kind, filters, tell, signal) {
  const row = kind === "csv" ? csvRow : jsonRow;
  const pieces = kind === "csv" ? [csvHead()] : [];
  let [rows, chars, cursor] = [0, 0, ""];
  while (rows < MOST_ROWS && chars < MOST_CHARS) {
    const page = await readPatiently("/api/v1/predictions", { query: { ...filters, cursor, limit: EXPORT_PAGE }, signal });
    const piece = page.items.map(row).join("");
    pieces.push(piece);
    rows += page.items.length;
    chars += piece.length;
    tell(rows);
    cursor = page.next_cursor;
    if (!cursor) return { pieces, rows, whole: true };
  }
  return { pieces, rows, whole: false };
}

function save(pieces, kind) {
  const type = kind === "csv" ? "text/csv;charset=utf-8" : "application/jsonl";
  const address = URL.createObjectURL(new Blob(kind === "csv" ? ["\ufeff", ...pieces] : pieces, { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `predictions.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
