// What views are made of.

import { Problem } from "./api.js";
import { number, percent, text } from "./format.js";
import { html, useEffect, useRef, useState } from "./preact-htm.js";

const KINDS = new Map([
  ["succeeded", "good"],
  ["ready", "good"],
  ["queued", "info"],
  ["running", "info"],
  ["loading", "info"],
  ["failed", "bad"],
  ["expired", "warn"],
  ["cancelled", "warn"],
]);

export const Badge = ({ kind, children }) => html`<span class=${`badge ${kind}`}>${children}</span>`;

export const Status = ({ status }) => html`<${Badge} kind=${KINDS.get(status) ?? "plain"}>${text(status)}<//>`;

export const Card = ({ title, aside, children, ...rest }) =>
  html`<section class="card" ...${rest}>
    <div class="head"><h2>${title}</h2>${aside}</div>
    ${children}
  </section>`;

export const Facts = ({ items }) =>
  html`<dl class="facts">
    ${items.filter(([, value]) => value !== undefined).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value ?? "–"}</dd></div>`)}
  </dl>`;

/** A table; on a phone each row is a block, whose cells say what they are, or a few lines if it is `compact`. */
export function Table({ caption, columns, rows, keyOf, empty = "Nothing here.", classOf, kind = "" }) {
  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  return html`<table role="table" class=${kind}>
    <caption class="hidden">${caption}</caption>
    <thead role="rowgroup"><tr role="row">
      ${columns.map(({ name, kind }) => html`<th role="columnheader" scope="col" class=${kind}>${name}</th>`)}
    </tr></thead>
    <tbody role="rowgroup">
      ${rows.map(
        (row) => html`<tr role="row" key=${keyOf(row)} class=${classOf?.(row) ?? ""}>
          ${columns.map(({ name, kind, cell }) => html`<td role="cell" class=${kind} data-label=${name}><div>${cell(row)}</div></td>`)}
        </tr>`,
      )}
    </tbody>
  </table>`;
}

/** Labels with their scores, as bars of a length that says the same as the number. */
export const Bars = ({ items, format = (value) => percent(value), most = 1 }) =>
  html`<ol class="bars">
    ${items.map(
      ([label, value]) => html`<li>
        <span class="label">${text(label)}</span><span class="value">${format(value)}</span>
        <span class="bar"><span style=${{ width: `${Math.max(0, Math.min(1, value / (most || 1))) * 100}%` }}></span></span>
      </li>`,
    )}
  </ol>`;

/** The course of a number, drawn; what it says is in words beside it. */
export function Sparkline({ values, name }) {
  const most = Math.max(1, ...values);
  const points = values.map((value, step) => `${(step / Math.max(1, values.length - 1)) * 100},${22 - (value / most) * 20}`);
  const told = values.length < 2 ? `${name}: no course yet` : `${name}: ${number(values[0])} to ${number(values.at(-1))}, at most ${number(most)}`;
  return html`<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${told}>
    ${points.length > 1 && html`<polyline points=${points.join(" ")} />`}
  </svg>`;
}

export const Json = ({ value }) => html`<pre class="code" tabindex="0">${JSON.stringify(value, null, 2) ?? "–"}</pre>`;

/** What went wrong, in words; said aloud by screen readers. */
export function Alert({ error }) {
  if (!error) return null;
  const scope = error instanceof Problem && error.status === 403;
  return html`<div class="alert" role="alert">
    <strong>${scope ? "Not allowed" : "That did not work"}.</strong> ${text(error.message)}
    ${error.errors?.length > 1 && html`<ul>${error.errors.map((each) => html`<li>${text(each.loc?.join("."))}: ${text(each.msg)}</li>`)}</ul>`}
  </div>`;
}

export function Copy({ value, what }) {
  const [told, setTold] = useState("");
  const box = useRef();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(value);
      setTold("Copied");
    } catch {
      box.current.hidden = false; // without HTTPS browsers give no access to the clipboard
      box.current.select();
      setTold("Copy the marked text");
    }
  };
  return html`<span class="copy">
    <button type="button" class="small" onClick=${copy}>${what}</button>
    <span class="told" role="status">${told}</span>
    <textarea ref=${box} hidden readonly rows="4" aria-label=${what} value=${value}></textarea>
  </span>`;
}

/** Asks before something is done that cannot be taken back. `ask` is `{title, text, action, run}` or null. */
export function Confirm({ ask, close }) {
  const dialog = useRef();
  useEffect(() => {
    if (ask && !dialog.current.open) dialog.current.showModal();
    else if (!ask && dialog.current.open) dialog.current.close();
  }, [ask]);
  const confirm = () => {
    close();
    ask.run();
  };
  return html`<dialog ref=${dialog} onClose=${close} aria-labelledby="confirm-title">
    <h2 id="confirm-title">${ask?.title}</h2>
    <p>${ask?.text}</p>
    <div class="row end">
      <button type="button" onClick=${close}>Keep as it is</button>
      <button type="button" class="danger" onClick=${confirm}>${ask?.action}</button>
    </div>
  </dialog>`;
}

/** What `load` gives, its error, and how to load again; anew whenever `inputs` change. */
export function useLoaded(load, inputs) {
  const [found, setFound] = useState({ busy: true });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const turnedAway = new AbortController();
    setFound((before) => ({ ...before, busy: true }));
    load(turnedAway.signal).then(
      (value) => turnedAway.signal.aborted || setFound({ value }),
      (error) => turnedAway.signal.aborted || setFound({ error }),
    );
    return () => turnedAway.abort();
  }, [...inputs, turn]);
  return { ...found, again: () => setTurn((count) => count + 1) };
}

export const Busy = ({ when }) => (when ? html`<p class="empty" role="status">Loading …</p>` : null);
