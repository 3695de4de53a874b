// What a model answered, in the form that fits it.

import { number, percent, scoresOf, text } from "./format.js";
import { Bars, Json, Table } from "./parts.js";
import { html } from "./preact-htm.js";

const MOST_BARS = 12;

export function Answer({ result, input }) {
  if (typeof result !== "object" || result === null) return html`<p class="empty">No answer.</p>`;
  return html`<div class="answer">
    <${Shown} result=${result} input=${input} />
    <details><summary>As JSON</summary><${Json} value=${result} /></details>
  </div>`;
}

function Shown({ result, input }) {
  const scores = scoresOf(result);
  if (scores.length) return html`<${Scored} scores=${scores} />`;
  for (const name of ["summary", "translation", "text", "answer"]) {
    if (typeof result[name] === "string") return html`<div><blockquote>${result[name]}</blockquote><${Sure} score=${result.score} /></div>`;
  }
  if (Array.isArray(result.embedding)) return html`<${Embedding} numbers=${result.embedding.filter(Number.isFinite)} />`;
  if (Array.isArray(result.entities)) return html`<${Entities} entities=${result.entities} />`;
  if (Array.isArray(result.ranking)) return html`<${Ranking} ranking=${result.ranking} documents=${input?.documents} />`;
  return html`<${Json} value=${result} />`;
}

const Scored = ({ scores }) => html`<div>
  <p class="verdict">${scores[0][0]}</p>
  <${Bars} items=${scores.slice(0, MOST_BARS)} most=${Math.max(1, scores[0][1])} />
  ${scores.length > MOST_BARS && html`<p class="soft">and ${number(scores.length - MOST_BARS)} more</p>`}
</div>`;

const Sure = ({ score }) => (Number.isFinite(score) ? html`<p class="soft">score ${percent(score)}</p>` : null);

function Embedding({ numbers }) {
  const most = Math.max(1e-9, ...numbers.map(Math.abs));
  const shown = numbers.slice(0, 64);
  return html`<div><p>${number(numbers.length)} numbers, of length ${number(Math.hypot(...numbers), 3)}</p>
    <svg class="strip" viewBox=${`0 0 ${shown.length} 2`} preserveAspectRatio="none" role="img" aria-label="the first numbers, drawn">
      ${shown.map((value, at) => html`<rect x=${at + 0.1} width="0.8" y=${value < 0 ? 1 : 1 - value / most} height=${Math.abs(value) / most} />`)}
    </svg></div>`;
}

const ENTITY_COLUMNS = [
  { name: "Text", cell: (each) => text(each.text) },
  { name: "Kind", cell: (each) => text(each.label) },
  { name: "Score", kind: "num", cell: (each) => percent(each.score) },
];

const Entities = ({ entities }) =>
  html`<${Table} caption="Entities" columns=${ENTITY_COLUMNS} rows=${entities.filter(Boolean)} keyOf=${(each) => `${each.start}-${each.end}`} empty="No entities." />`;

function Ranking({ ranking, documents }) {
  const items = ranking.filter((each) => Number.isFinite(each?.score));
  const named = items.map(({ index, score }) => [Array.isArray(documents) ? documents[index] : `document ${index}`, score]);
  return html`<${Bars} items=${named.slice(0, MOST_BARS)} format=${(value) => number(value, 3)} most=${Math.max(...items.map((each) => each.score), 1e-9)} />`;
}
