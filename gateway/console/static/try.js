// Try a model: a form from its schemas, the answer, and the same request as a command or a program.

import { Answer } from "./answer.js";
import { call, Problem, read, signedIn } from "./api.js";
import { cancel, follow, isOpen } from "./follow.js";
import { Field, fieldsOf, plain, typed, valueOf, valuesOf } from "./form.js";
import { asCurl, asPython, duration, number, percent } from "./format.js";
import { Alert, Badge, Card, Copy, Status, useLoaded } from "./parts.js";
import { html, useEffect, useMemo, useRef, useState } from "./preact-htm.js";
import { to } from "./route.js";

const WAIT_S = 2;

export function Try({ asked = {} }) {
  const { value: models, error, again } = useLoaded(async (signal) => (await read("/api/v1/models", { signal })).items, []);
  const [chosen, choose] = useState({ model: asked.model ?? "", version: asked.version ?? "" });
  const usable = (models ?? []).filter((each) => each.versions.some((version) => version.is_active));
  const model = usable.find((each) => each.name === chosen.model) ?? preferred(usable);
  const versions = model?.versions.filter((each) => each.is_active) ?? [];
  const version = versions.find((each) => each.version === chosen.version) ?? versions.find((each) => each.is_default) ?? versions[0];
  return html`<${Card} title="Try a model">
    <${Alert} error=${error} />
    ${error && html`<button type="button" onClick=${again}>Try again</button>`}
    ${models && !model && html`<p class="empty">There is no active model that you may use.</p>`}
    ${model && html`
      <div class="row">
        <${Choice} id="try-model" label="Model" value=${model.name} choices=${usable.map((each) => each.name)} set=${(name) => choose({ model: name, version: "" })} />
        <${Choice} id="try-version" label="Version" value=${version.version} choices=${versions.map((each) => each.version)}
          told=${(each) => (versions.find((one) => one.version === each)?.is_default ? `${each} (default)` : each)}
          set=${(name) => choose({ model: model.name, version: name })} />
      </div>
      <p class="soft">${model.description}</p>
      ${!version.workers && html`<p class="note"><${Badge} kind="bad">nobody serves it<//> A request waits until a worker does, or until its deadline.</p>`}
      <${Form} key=${JSON.stringify([model.name, version.version])} model=${model} version=${version} />`}
  <//>`;
}

/** The first one that somebody serves. */
const preferred = (models) => models.find((each) => each.versions.some((version) => version.is_default && version.workers)) ?? models[0];

const Choice = ({ id, label, value, choices, set, told = (each) => each }) =>
  html`<div class="field">
    <label for=${id}>${label}</label>
    <select id=${id} value=${value} onChange=${(event) => set(event.target.value)}>
      ${choices.map((each) => html`<option value=${each}>${told(each)}</option>`)}
    </select>
  </div>`;

function Form({ model, version }) {
  const { value: schemas, error } = useLoaded((signal) => schemasOf(model.name, version.version, signal), []);
  if (error) return html`<${Alert} error=${error} />`;
  return schemas ? html`<${Request} model=${model.name} version=${version.version} schemas=${schemas} />` : html`<p class="empty">Loading …</p>`;
}

async function schemasOf(name, version, signal) {
  const model = await read(`/api/v1/models/${encodeURIComponent(name)}`, { signal });
  return model.versions.find((each) => each.version === version)?.schemas ?? {};
}

/** How the input of a version is asked for: as a text, by the fields of an object, or as JSON. */
export function formOf(schemas) {
  const schema = plain(schemas.input ?? { type: "string" });
  const takesText = schema.type === "string" || [schema.anyOf, schema.oneOf].some((each) => Array.isArray(each) && each.some((one) => one?.type === "string"));
  const fields = takesText ? [] : fieldsOf(schema, schemas.input);
  const kind = takesText ? "text" : fields.length ? "fields" : "json";
  const example = schemas.example;
  const raws = Object.fromEntries(fields.map((field) => [field.name, typed(field.kind, example?.[field.name])]));
  const whole = kind === "text" && typeof example === "string" ? example : typed("json", example);
  const options = fieldsOf(schemas.options ?? {}, schemas.options);
  const optionRaws = Object.fromEntries(options.map((field) => [field.name, typed(field.kind, schemas.example_options?.[field.name])]));
  return { kind, fields, raws, whole, options, optionRaws };
}

/** The body of a request from what is typed, and what is wrong. */
export function bodyOf({ model, version }, form, typedIn) {
  const { values: options, errors: wrong } = valuesOf(form.options, typedIn.options);
  const errors = Object.fromEntries(Object.entries(wrong).map(([name, told]) => [`options.${name}`, told]));
  const body = { model, version };
  if (form.kind === "text") body.text = typedIn.whole;
  else if (form.kind === "fields") {
    const found = valuesOf(form.fields, typedIn.fields);
    body.input = found.values;
    for (const [name, told] of Object.entries(found.errors)) errors[`input.${name}`] = told;
  } else {
    try {
      body.input = valueOf("json", typedIn.whole);
    } catch (error) {
      errors.input = error.message;
    }
  }
  if ((body.text ?? body.input) === undefined || body.text === "") errors.input = "is needed";
  if (Object.keys(options).length) body.options = options;
  return { body, errors };
}

/** What the API says of fields, by the names that fields have here. */
const placed = (error) =>
  error instanceof Problem ? Object.fromEntries(error.errors.map(({ loc, msg }) => [placeOf(loc), String(msg)])) : {};

const placeOf = (loc) => (Array.isArray(loc) ? (loc[1] === "text" ? "input" : loc.slice(1, 3).join(".")) : "");

function Request({ model, version, schemas }) {
  const form = useMemo(() => formOf(schemas), [schemas]);
  const [typedIn, type] = useState({ whole: form.whole, fields: form.raws, options: form.optionRaws });
  const [errors, setErrors] = useState({});
  const [state, setState] = useState(null);
  const { run, stop } = useRun(setState, setErrors);
  const { body } = bodyOf({ model, version }, form, typedIn);
  const submit = (event) => {
    event.preventDefault();
    const checked = bodyOf({ model, version }, form, typedIn);
    setErrors(checked.errors);
    if (!Object.keys(checked.errors).length) run(checked.body, schemas);
  };
  const setField = (part, name) => (raw) => type((now) => ({ ...now, [part]: { ...now[part], [name]: raw } }));
  const url = `${location.origin}/api/v1/predict?wait=30`;
  return html`<form onSubmit=${submit} novalidate>
    ${form.kind === "fields"
      ? form.fields.map((field) => html`<${Field} ...${field} id=${`input-${field.name}`} raw=${typedIn.fields[field.name]} error=${errors[`input.${field.name}`]} set=${setField("fields", field.name)} />`)
      : html`<${Field} id="input" name=${form.kind === "text" ? "Text" : "Input"} kind=${form.kind === "text" ? "paragraph" : "json"} schema=${{}} raw=${typedIn.whole}
          error=${errors.input} set=${(whole) => type((now) => ({ ...now, whole }))} />`}
    ${form.options.length > 0 && html`<details open=${form.options.some((each) => each.needed)}>
      <summary>Options</summary>
      <div class="grid">${form.options.map((field) => html`<${Field} ...${field} id=${`option-${field.name}`} raw=${typedIn.options[field.name]} error=${errors[`options.${field.name}`]} set=${setField("options", field.name)} />`)}</div>
    </details>`}
    <div class="row actions">
      <button type="submit" class="primary" disabled=${state?.busy}>${state?.busy ? "Predicting …" : "Predict"}</button>
      <${Copy} value=${asCurl(url, body, signedIn())} what="Copy as curl" />
      <${Copy} value=${asPython(url, body, signedIn())} what="Copy as Python" />
    </div>
    <div aria-live="polite">${state && html`<${Outcome} state=${state} input=${body.input} stop=${stop} />`}</div>
  </form>`;
}

/** Sends a request and follows its prediction; what was sent before is not followed any more. */
function useRun(setState, setErrors) {
  const current = useRef();
  useEffect(() => () => current.current?.abort(), []);
  const run = async (body, schemas) => {
    current.current?.abort();
    const { signal } = (current.current = new AbortController());
    const show = (change) => signal.aborted || setState((now) => ({ ...now, item: change(now?.item) }));
    const token = (piece) => signal.aborted || setState((now) => ({ ...now, tokens: (now?.tokens ?? "") + piece }));
    setState({ busy: true, began: performance.now() });
    try {
      const wait = schemas.output?.properties?.new_tokens ? 0 : WAIT_S; // what writes is watched while it does
      const { body: item } = await call("POST", "/api/v1/predict", { query: { wait }, body, signal });
      show(() => item);
      if (isOpen(item)) await follow(item.prediction_id, show, token, signal);
      setState((now) => ({ ...now, took: performance.now() - now.began }));
    } catch (error) {
      if (signal.aborted) return;
      setErrors(placed(error));
      setState((now) => ({ ...now, error }));
    }
    setState((now) => ({ ...now, busy: false }));
  };
  const stop = async (id) => {
    try {
      const said = await cancel(id);
      setState((now) => ({ ...now, said }));
    } catch (error) {
      setState((now) => ({ ...now, said: error.message }));
    }
  };
  return { run, stop };
}

function Outcome({ state, input, stop }) {
  const { item, error, tokens, took, said } = state;
  const id = item?.prediction_id ?? error?.predictionId;
  return html`<div class="outcome">
    ${error && html`<${Alert} error=${error} />`}
    ${item && html`<p class="row">
      <${Status} status=${item.status} />
      ${Number.isFinite(item.confidence) && html`<span>confidence ${percent(item.confidence)}</span>`}
      ${Number.isFinite(item.processing_time_ms) && html`<span class="soft">${duration(item.processing_time_ms / 1000)} in the model${Number.isFinite(took) ? `, ${duration(took / 1000)} in all` : ""}</span>`}
      ${item.cached && html`<${Badge} kind="plain">from the cache<//>`}
    </p>`}
    ${item && isOpen(item) && html`<${Waiting} item=${item} />`}
    ${item && isOpen(item) && html`<button type="button" class="small" onClick=${() => stop(item.prediction_id)}>Cancel</button>`}
    ${said && html`<p class="note">${said}</p>`}
    ${tokens && (!item || isOpen(item)) && html`<blockquote>${tokens}</blockquote>`}
    ${item?.error && html`<p class="alert">${item.error}</p>`}
    ${item?.result && html`<${Answer} result=${item.result} input=${input} />`}
    ${id && html`<p><a href=${to("predictions", id)}>This prediction</a></p>`}
  </div>`;
}

export function Waiting({ item }) {
  const { queue, queued_for_s: waited, progress, note } = item;
  return html`<div>
    ${Number.isFinite(progress) && html`<p><progress max="1" value=${progress} aria-label="Progress"></progress> ${percent(progress, 0)}</p>`}
    <p class="soft">
      ${Number.isFinite(waited) ? `For ${duration(waited)} now. ` : ""}
      ${queue ? `${number(queue.depth)} in the queue${Number.isFinite(queue.eta_s) ? `, empty in ${duration(queue.eta_s)}` : ""}. ` : ""}
      ${note ?? ""}
    </p>
  </div>`;
}
