// A form made from a JSON Schema: text boxes, numbers, choices; whatever has no field of its own is typed as JSON.

import { text } from "./format.js";
import { html } from "./preact-htm.js";

const MOST_STEPS = 20;

/** A schema without references, and without the null that an optional value may be. What is no schema is any value. */
export function plain(schema, root = schema, steps = 0) {
  if (typeof schema !== "object" || schema === null || steps > MOST_STEPS) return {};
  if (typeof schema.$ref === "string") {
    const { $ref, ...beside } = schema;
    return plain({ ...root?.$defs?.[$ref.replace("#/$defs/", "")], ...beside }, root, steps + 1);
  }
  const several = [schema.anyOf, schema.oneOf, schema.allOf].find(Array.isArray) ?? [];
  const real = several.filter((each) => each?.type !== "null");
  if (real.length !== 1) return schema;
  const { anyOf, oneOf, allOf, ...beside } = schema;
  return plain({ ...real[0], ...beside }, root, steps + 1);
}

/** How a value of this schema is asked for. */
export function kindOf(schema) {
  if (Array.isArray(schema.enum)) return "choice";
  if (schema.type === "string") return "text";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "boolean") return "flag";
  if (schema.type === "array" && schema.items?.type === "string") return "lines";
  return "json";
}

/** The fields of an object's schema, or none if it has no properties to ask for. */
export function fieldsOf(schema, root = schema) {
  const found = plain(schema, root);
  if (found.type !== "object" || typeof (found.properties ?? 0) !== "object") return [];
  return Object.entries(found.properties).map(([name, each]) => {
    const field = plain(each, root);
    const items = field.items && plain(field.items, root);
    const needed = Array.isArray(found.required) && found.required.includes(name);
    return { name, needed, schema: { ...field, items }, kind: kindOf({ ...field, items }) };
  });
}

/** A value as it is typed. */
export function typed(kind, value) {
  if (value === undefined || value === null) return "";
  if (kind === "lines" && Array.isArray(value)) return value.join("\n");
  if (kind === "flag") return value ? "yes" : "no";
  return typeof value === "string" && kind !== "json" ? value : JSON.stringify(value, null, kind === "json" ? 2 : 0);
}

/** What is typed as a value; undefined if nothing is. Raises an Error in words. */
export function valueOf(kind, raw, schema = {}) {
  if (raw === "") return undefined;
  if (kind === "lines") return raw.split("\n").map((line) => line.trim()).filter(Boolean);
  if (kind === "flag") return raw === "yes";
  if (kind === "number") {
    if (!Number.isFinite(Number(raw))) throw new Error("must be a number");
    return Number(raw);
  }
  if (kind === "choice") return schema.enum.find((each) => text(each) === raw);
  if (kind !== "json") return raw;
  try {
    return JSON.parse(raw);
  } catch (error) {
    throw new Error(`is not JSON: ${error.message}`);
  }
}

/** The values of an object's fields that are given, and what is wrong with others. */
export function valuesOf(fields, raws) {
  const values = {};
  const errors = {};
  for (const { name, kind, schema, needed } of fields) {
    try {
      const value = valueOf(kind, raws[name] ?? "", schema);
      if (value !== undefined) values[name] = value;
      else if (needed) errors[name] = "is needed";
    } catch (error) {
      errors[name] = error.message;
    }
  }
  return { values, errors };
}

/** What is said of a field, without the name of the task that the API writes before it. */
const hintOf = (schema) => (typeof schema.description === "string" ? schema.description.replace(/^[\w-]+( \(required\))?: /, "") : "");

const rangeOf = ({ minimum, maximum, minLength, maxLength }) => {
  const [low, high] = [minimum ?? minLength, maximum ?? maxLength];
  if (low === undefined && high === undefined) return "";
  return low !== undefined && high !== undefined ? `${low} to ${high}` : low !== undefined ? `at least ${low}` : `at most ${high}`;
};

export function Field({ id, name, kind, schema, needed, raw, error, set }) {
  const hints = [hintOf(schema), kind === "lines" ? "one a line" : kind === "json" ? "JSON" : "", kind === "number" ? rangeOf(schema) : ""];
  const hint = hints.filter(Boolean).join("; ");
  const about = { id, "aria-describedby": hint || error ? `${id}-hint` : undefined, "aria-invalid": error ? "true" : undefined };
  return html`<div class="field">
    <label for=${id}>${name}${needed ? html` <span class="soft">(needed)</span>` : ""}</label>
    <${Control} ...${{ about, kind, schema, raw, set }} />
    ${(hint || error) && html`<p id=${`${id}-hint`} class=${error ? "hint wrong" : "hint"}>${error ? `${name} ${error}` : hint}</p>`}
  </div>`;
}

function Control({ about, kind, schema, raw, set }) {
  const onInput = (event) => set(event.target.value);
  const placeholder = schema.default === undefined || schema.default === null ? "" : text(schema.default);
  if (kind === "choice" || kind === "flag") {
    const choices = kind === "flag" ? ["yes", "no"] : schema.enum.map(text);
    const usual = schema.default === undefined || schema.default === null ? "" : ` (${typed(kind, schema.default)})`;
    return html`<select ...${about} value=${raw} onChange=${onInput}>
      <option value="">${`as usual${usual}`}</option>
      ${choices.map((each) => html`<option value=${each}>${each}</option>`)}
    </select>`;
  }
  if (kind === "number") {
    const step = schema.type === "integer" ? 1 : "any";
    return html`<input ...${about} type="number" step=${step} min=${schema.minimum} max=${schema.maximum} value=${raw} placeholder=${placeholder} onInput=${onInput} />`;
  }
  if (kind === "text") return html`<input ...${about} type="text" value=${raw} placeholder=${placeholder} onInput=${onInput} />`;
  const rows = Math.max(2, Math.min(10, raw.split("\n").length));
  return html`<textarea ...${about} rows=${rows} class=${kind === "json" ? "mono" : ""} value=${raw} spellcheck=${kind !== "json"} onInput=${onInput}></textarea>`;
}
