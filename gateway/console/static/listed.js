// Predictions in a list.

import { acceptedAt, duration, moment, percent, summary, text } from "./format.js";
import { Status, Table } from "./parts.js";
import { html } from "./preact-htm.js";
import { to } from "./route.js";

const TIME = { name: "Accepted", kind: "time", cell: (item) => html`<a href=${to("predictions", item.prediction_id)}>${moment(acceptedAt(item))}</a>` };
const MODEL = { name: "Model", cell: (item) => html`<span class="name">${text(item.model)}</span> <span class="soft">${text(item.version)}</span>` };
const STATUS = { name: "Status", cell: (item) => html`<${Status} status=${item.status} />` };
const ANSWER = { name: "Answer", kind: "wide", cell: (item) => (item.result === undefined && !item.error ? "–" : html`<span class="clipped">${summary(item)}</span>`) };
const SURE = { name: "Confidence", kind: "num", cell: (item) => percent(item.confidence ?? NaN) };
const TOOK = { name: "Took", kind: "num", cell: (item) => duration((item.processing_time_ms ?? NaN) / 1000) };

const idOf = (item) => item.prediction_id;

export const Recent = ({ items, empty }) =>
  html`<${Table} kind="compact" caption="Latest predictions" columns=${[TIME, MODEL, STATUS, ANSWER]} rows=${items} keyOf=${idOf} empty=${empty} />`;

export const Listed = ({ items, empty }) =>
  html`<${Table} kind="compact" caption="Predictions" columns=${[TIME, MODEL, STATUS, ANSWER, SURE, TOOK]} rows=${items} keyOf=${idOf} empty=${empty} />`;
