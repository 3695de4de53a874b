// How values are written. Pure: nothing here touches the page or the network.

const NOTHING = "–";

/** Any value as one text: what comes from the API may be of any type. */
export const text = (value) =>
  value === null || value === undefined ? NOTHING : typeof value === "object" ? JSON.stringify(value) : String(value);

/** A value as a part of an address; a lone surrogate, which no address can hold, is replaced. */
export const part = (value) => encodeURIComponent(String(value).replace(/[\ud800-\udfff]/gu, "\ufffd"));

export const number = (value, digits = 0) =>
  Number.isFinite(value) ? value.toLocaleString("en", { maximumFractionDigits: digits }) : NOTHING;

export const percent = (value, digits = 1) => (Number.isFinite(value) ? `${number(value * 100, digits)} %` : NOTHING);

const UNITS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
];

/** Seconds, roughly: "40 ms", "2.5 s", "3 min". */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return NOTHING;
  const [size, unit] = UNITS.find(([each]) => seconds >= each) ?? [1, "s"];
  if (size > 1) return `${number(seconds / size, seconds / size < 10 ? 1 : 0)} ${unit}`;
  return seconds < 1 ? `${number(seconds * 1000)} ms` : `${number(seconds, seconds < 10 ? 1 : 0)} s`;
}

export const rate = (perSecond) => (Number.isFinite(perSecond) ? `${number(perSecond, perSecond < 10 ? 1 : 0)}/s` : NOTHING);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export const isId = (value) => UUID.test(value);

/** When a prediction was accepted: the first 48 bits of its id. */
export const acceptedAt = (item) =>
  item.created_at ? new Date(item.created_at) : new Date(parseInt(item.prediction_id.replaceAll("-", "").slice(0, 12), 16));

const two = (value) => String(value).padStart(2, "0");

const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;

export const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;

/** A time in the reader's zone: the time alone if it was today. */
export function moment(value, now = new Date()) {
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return NOTHING;
  return day(date) === day(now) ? clock(date) : `${day(date)} ${clock(date)}`;
}

/** The labels of a result with their scores, best first, if it has any. */
export function scoresOf(result) {
  const scores = result?.scores;
  if (typeof scores !== "object" || scores === null || Array.isArray(scores)) return [];
  return Object.entries(scores)
    .filter(([, score]) => Number.isFinite(score))
    .sort(([, one], [, other]) => other - one);
}

/** A result in one line. */
export function summary(item) {
  if (item.error) return item.error;
  const result = item.result;
  if (typeof result !== "object" || result === null) return text(result);
  for (const name of ["label", "summary", "translation", "text", "answer"]) {
    if (typeof result[name] === "string") return result[name].slice(0, 200);
  }
  if (Array.isArray(result.embedding)) return `${result.embedding.length} numbers`;
  return JSON.stringify(result).slice(0, 200);
}

// --- what is copied ------------------------------------------------------------------------------------------------

const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`;

/** A shell command that sends the same request; a credential is named, never written. */
export function asCurl(url, body, secured) {
  const authorization = secured ? ` \\\n  -H "Authorization: Bearer $MILLSTREAM_TOKEN"` : "";
  const sent = quoted(JSON.stringify(body));
  return `curl -sS ${quoted(url)}${authorization} \\\n  -H 'Content-Type: application/json' \\\n  -d ${sent}`;
}

/** A Python program of the standard library that does. */
export function asPython(url, body, secured) {
  const headers = secured
    ? `{"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["MILLSTREAM_TOKEN"]}`
    : `{"Content-Type": "application/json"}`;
  return `import json
${secured ? "import os\n" : ""}from urllib.request import Request, urlopen

body = ${asPythonValue(body)}
headers = ${headers}
with urlopen(Request(${JSON.stringify(url)}, json.dumps(body).encode(), headers)) as answer:
    print(json.load(answer))`;
}

const PYTHON = new Map([
  [true, "True"],
  [false, "False"],
  [null, "None"],
]);

function asPythonValue(value) {
  if (Array.isArray(value)) return `[${value.map(asPythonValue).join(", ")}]`;
  if (typeof value !== "object" || value === null) return PYTHON.get(value) ?? JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, each]) => `${JSON.stringify(name)}: ${asPythonValue(each)}`)
    .join(", ")}}`;
}

// --- what is exported ----------------------------------------------------------------------------------------------

const COLUMNS = ["prediction_id", "created_at", "model", "version", "status", "label", "confidence", "processing_time_ms"];
const ALL = [...COLUMNS, "priority", "cached", "error", "result"];

/** A field of CSV. A spreadsheet takes what begins like a formula for one: an apostrophe before it says that it is text. */
export function csvField(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const plain = typeof value === "object" ? JSON.stringify(value) : String(value);
  const safe = /^[\s\u0000-\u001f\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20|]|^[\t\r\n]/u.test(plain) ? `'${plain}` : plain;
  return `"${safe.replaceAll('"', '""')}"`;
}

export const csvHead = () => `${ALL.join(",")}\r\n`;

export const csvRow = (item) =>
  `${ALL.map((name) => csvField(name === "label" ? item.result?.label : item[name])).join(",")}\r\n`;

export const jsonRow = (item) => `${JSON.stringify(item)}\n`;
