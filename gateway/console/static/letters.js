// Dead letters: what was given up on, to be tried again or deleted, also several at once.

import { call, read } from "./api.js";
import { moment, number, part, text } from "./format.js";
import { Alert, Badge, Busy, Confirm, Table, useLoaded } from "./parts.js";
import { html, useEffect, useState } from "./preact-htm.js";
import { to } from "./route.js";

const PAGE = 50;
const AT_ONCE = 4;

export function DeadLetters({ route }) {
  const { cursor } = route.query;
  const { value: page, error, busy, again } = useLoaded((signal) => read("/api/v1/dead-letters", { query: { cursor, limit: PAGE }, signal }), [cursor]);
  const [chosen, choose] = useState(new Set());
  const [ask, setAsk] = useState(null);
  const [told, tell] = useState(null);
  useEffect(() => choose(new Set()), [page]);
  const letters = page?.items ?? [];
  const run = async (action, some) => {
    tell(await doAll(action, some, (count) => tell({ said: `${number(count)} of ${number(some.length)} …` })));
    again();
  };
  const picked = letters.filter((each) => chosen.has(each.dead_letter_id));
  const replayable = picked.filter((each) => each.replayable);
  const remove = { title: `Delete ${counted(picked.length)}?`, text: "Their predictions stay failed. This cannot be taken back.", action: "Delete", run: () => run("delete", picked) };
  const toggle = (id) => choose((now) => new Set(now.has(id) ? [...now].filter((each) => each !== id) : [...now, id]));
  const all = letters.length > 0 && picked.length === letters.length;
  return html`<div>
    <h1>Dead letters</h1>
    <p class="soft">Requests and results that were given up on. What is tried again keeps its id.</p>
    <${Alert} error=${error} />
    <div class="row above" role="group" aria-label="For those that are chosen">
      ${letters.length > 0 && html`<label class="check"><input type="checkbox" checked=${all} onChange=${() => choose(new Set(all ? [] : letters.map((each) => each.dead_letter_id)))} /> All of this page</label>
      <button type="button" disabled=${!replayable.length} onClick=${() => run("replay", replayable)}>Try again (${number(replayable.length)})</button>
      <button type="button" class="danger" disabled=${!picked.length} onClick=${() => setAsk(remove)}>Delete (${number(picked.length)})</button>`}
      <button type="button" onClick=${again}>Refresh</button>
      <span role="status">${told?.said ?? ""}</span>
    </div>
    ${told?.failures?.length > 0 && html`<div class="alert" role="alert">${told.failures.map((each) => html`<p>${each}</p>`)}</div>`}
    <section class="card" aria-label="Dead letters" aria-busy=${busy ? "true" : "false"}>
      ${page ? html`<${Table} caption="Dead letters" columns=${columns(chosen, toggle)} rows=${letters} keyOf=${(each) => each.dead_letter_id} empty="None: nothing was given up on." />` : html`<${Busy} when=${busy} />`}
      <div class="row pages">
        ${cursor && html`<a class="button" href=${to("dead-letters")}>Newest</a>`}
        ${page?.next_cursor && html`<a class="button" href=${to("dead-letters", "", { cursor: page.next_cursor })}>Older</a>`}
      </div>
    </section>
    <${Confirm} ask=${ask} close=${() => setAsk(null)} />
  </div>`;
}

const counted = (count) => (count === 1 ? "this dead letter" : `these ${number(count)} dead letters`);

const columns = (chosen, toggle) => [
  { name: "Choose", cell: ({ dead_letter_id: id }) => html`<input type="checkbox" aria-label=${`Choose ${id}`} checked=${chosen.has(id)} onChange=${() => toggle(id)} />` },
  { name: "Given up", kind: "time", cell: (letter) => moment(letter.dead_at) },
  { name: "Model", cell: (letter) => html`<span class="name">${text(letter.model)}</span> <span class="soft">${letter.version ?? ""}</span>` },
  { name: "Reason", cell: (letter) => html`<span class="mono">${letter.reason}</span>` },
  { name: "What happened", kind: "wide", cell: (letter) => letter.error },
  { name: "Deliveries", kind: "num", cell: (letter) => number(letter.deliveries) },
  { name: "Prediction", cell: ({ prediction_id: id }) => (id ? html`<a href=${to("predictions", id)} aria-label=${`Prediction ${id}`}>show</a>` : "–") },
  { name: "Can be tried again", cell: (letter) => (letter.replayable ? html`<${Badge} kind="good">yes<//>` : html`<${Badge} kind="plain">no<//>`) },
];

/** Do one thing to several dead letters, a few at a time: how many it was done to, and what the others said. */
async function doAll(action, letters, tell) {
  const failures = [];
  let done = 0;
  const waiting = [...letters];
  const work = async () => {
    for (let letter = waiting.shift(); letter; letter = waiting.shift()) {
      const path = `/api/v1/dead-letters/${part(letter.dead_letter_id)}`;
      try {
        await (action === "replay" ? call("POST", `${path}/replay`) : call("DELETE", path));
        tell(++done);
      } catch (error) {
        failures.push(`${letter.dead_letter_id}: ${error.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return { said: `${number(done)} ${action === "replay" ? "tried again" : "deleted"}.`, failures: failures.slice(0, 10) };
}
