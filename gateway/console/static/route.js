// Which view the fragment of the address names: `#/predictions?status=failed`, `#/models/sentiment`.

import { part } from "./format.js";
import { useEffect, useState } from "./preact-htm.js";

const parsed = () => {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view, name = ""] = path.split("/", 2);
  return { view, name: decoded(name), query: Object.fromEntries(new URLSearchParams(query)) };
};

const decoded = (name) => {
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // typed by hand
  }
};

export function useRoute() {
  const [route, setRoute] = useState(parsed);
  useEffect(() => {
    const changed = () => setRoute(parsed());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

/** The address of a view. */
export function to(view, name = "", query = {}) {
  const given = Object.entries(query).filter(([, value]) => value);
  const asked = given.map(([each, value]) => `${part(each)}=${part(value)}`).join("&");
  return `#/${view}${name ? `/${part(name)}` : ""}${asked ? `?${asked}` : ""}`;
}
