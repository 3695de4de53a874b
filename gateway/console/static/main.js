// The page: who this is, which view is shown, and the way between views.

import { onRefused, signedIn, signIn } from "./api.js";
import { Alert } from "./parts.js";
import { Experiments } from "./experiments.js";
import { DeadLetters } from "./letters.js";
import { restart, useLive } from "./live.js";
import { Models } from "./models.js";
import { Overview } from "./overview.js";
import { html, render, useEffect, useErrorBoundary, useRef, useState } from "./preact-htm.js";
import { Prediction } from "./prediction.js";
import { Predictions } from "./predictions.js";
import { useRoute } from "./route.js";

const VIEWS = [
  ["overview", "Overview", Overview],
  ["predictions", "Predictions", Predictions],
  ["models", "Models", Models],
  ["experiments", "Experiments", Experiments],
  ["dead-letters", "Dead letters", DeadLetters],
];

const MODES = {
  connecting: ["info", "Connecting"],
  live: ["good", "Live"],
  polling: ["info", "Every 5 s"],
  paused: ["warn", "Paused"],
  lost: ["bad", "No connection"],
  refused: ["warn", "Not signed in"],
};

function App() {
  const route = useRoute();
  const [who, setWho] = useState({ turn: 0, problem: null });
  const main = useRef();
  useEffect(() => onRefused((problem) => setWho((now) => ({ ...now, problem }))), []);
  const [name, title, View] = VIEWS.find(([each]) => each === (route.view || "overview")) ?? ["", "Not found", NotFound];
  const [heading, Shown] = name === "predictions" && route.name ? ["Prediction", Prediction] : [title, View];
  const shown = useRef(route);
  useEffect(() => {
    if (shown.current.view !== route.view || shown.current.name !== route.name) {
      main.current.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    shown.current = route;
  }, [route]);
  useEffect(() => {
    document.title = `${heading} · Millstream`;
    document.querySelector("nav a[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }); // on a phone
  }, [heading]);
  const enter = (value) => {
    signIn(value);
    setWho(({ turn }) => ({ turn: turn + 1, problem: null }));
    restart();
  };
  const skip = (event) => {
    event.preventDefault(); // the fragment says which view is shown
    main.current.focus();
  };
  return html`<div>
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header>
      <a class="brand" href="#/"><${Logo} />Millstream</a>
      <nav aria-label="Views">
        ${VIEWS.map(([each, label]) => html`<a href=${each === "overview" ? "#/" : `#/${each}`} aria-current=${each === name ? "page" : undefined}>${label}</a>`)}
        <a href="/docs">API</a>
      </nav>
      <${Connection} />
      ${signedIn() ? html`<button type="button" class="small" onClick=${() => enter("")}>Sign out</button>` : ""}
    </header>
    <main id="main" ref=${main} tabindex="-1">
      <${Guarded} key=${`${route.view}/${route.name}/${who.turn}`}><${Shown} route=${route} /><//>
    </main>
    <${SignIn} problem=${who.problem} enter=${enter} />
  </div>`;
}

/** A view that fails says so, and leaves the others alone. */
function Guarded({ children }) {
  const [error, reset] = useErrorBoundary();
  if (!error) return children;
  return html`<div><h1>Something is wrong with this view</h1><${Alert} error=${error} /><button type="button" onClick=${reset}>Try again</button></div>`;
}

const NotFound = () => html`<div><h1>Not found</h1><p>There is no such view. <a href="#/">Overview</a></p></div>`;

function Connection() {
  const { mode } = useLive();
  const [kind, label] = MODES[mode];
  return html`<span class=${`connection badge ${kind}`} role="status">${label}</span>`;
}

const Logo = () => html`<svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
  <rect width="32" height="32" rx="8" class="logo" />
  <path d="M6 12.5c3.3-4 6.7-4 10 0s6.7 4 10 0M6 20c3.3-4 6.7-4 10 0s6.7 4 10 0" class="waves" />
</svg>`;

function SignIn({ problem, enter }) {
  const dialog = useRef();
  const box = useRef();
  useEffect(() => {
    if (problem && !dialog.current.open) dialog.current.showModal();
    else if (!problem && dialog.current.open) dialog.current.close();
  }, [problem]);
  const submit = (event) => {
    event.preventDefault();
    const value = box.current.value;
    box.current.value = "";
    enter(value);
  };
  return html`<dialog ref=${dialog} aria-labelledby="sign-in">
    <form onSubmit=${submit}>
      <h2 id="sign-in">Who are you?</h2>
      <p>${problem?.message}</p>
      <div class="field">
        <label for="credential">Token or API key</label>
        <input id="credential" ref=${box} type="password" autocomplete="off" required autofocus spellcheck="false" aria-describedby="credential-hint" />
        <p id="credential-hint" class="hint">It stays in the memory of this page: reload the page, and it is forgotten.</p>
      </div>
      <div class="row end"><button type="submit" class="primary">Continue</button></div>
    </form>
  </dialog>`;
}

render(html`<${App} />`, document.getElementById("app"));
