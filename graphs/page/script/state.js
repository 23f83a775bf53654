/** The reader's choices, as plain data that is stored in the URL's fragment and in saved pages. */

export const DEFAULTS = Object.freeze({
  node: null,
  pins: [],
  groups: [],
  labels: {},
  size: "effect",
  against: null,
  least: 0,
  all: false,
  flag: "",
  query: "",
  tab: "certificate",
});

export const FLAGS = ["sign_flip", "missed", "phantom", "wrong_size"];
export const TABS = ["certificate", "nodes", "node", "pinned"];

/** `#node=...&pin=...&group=name|member|member&label=place|text&size=...`: only what differs from the defaults. */
export function toFragment(state) {
  const parts = new URLSearchParams();
  if (state.node !== null) parts.append("node", state.node);
  for (const pin of state.pins) parts.append("pin", pin);
  for (const { name, members } of state.groups) parts.append("group", [name, ...members].map(guarded).join("|"));
  for (const [place, text] of Object.entries(state.labels)) parts.append("label", [place, text].map(guarded).join("|"));
  for (const name of ["size", "against", "least", "all", "flag", "query", "tab"]) {
    if (state[name] !== DEFAULTS[name]) parts.append(name, String(state[name]));
  }
  return parts.toString();
}

/** The inverse of `toFragment`, on top of `base`; unknown or malformed parts are dropped. */
export function fromFragment(fragment, base = DEFAULTS) {
  const parts = new URLSearchParams(fragment.replace(/^#/, ""));
  if (![...parts].length) return { ...base };
  const state = { ...DEFAULTS, node: parts.get("node"), pins: parts.getAll("pin") };
  state.groups = parts.getAll("group").map(split).map(([name, ...members]) => ({ name, members }));
  state.labels = Object.fromEntries(parts.getAll("label").map(split).filter((pair) => pair.length === 2));
  for (const name of ["size", "against", "flag", "query", "tab"]) if (parts.has(name)) state[name] = parts.get(name);
  state.least = Number(parts.get("least") ?? DEFAULTS.least);
  state.all = parts.get("all") === "true";
  return state;
}

const guarded = (text) => text.replace(/[\\|]/g, "\\$&");

function split(text) {
  const found = [""];
  for (let n = 0; n < text.length; n++) {
    if (text[n] === "|") found.push("");
    else found[found.length - 1] += text[n] === "\\" ? (text[++n] ?? "") : text[n];
  }
  return found;
}

/** The state restricted to this circuit: names of its nodes and groups, its methods, numbers in range. */
export function fitted(state, circuit) {
  const names = new Set(circuit.nodes.map((node) => node.name));
  const groupable = new Set(circuit.nodes.filter((node) => node.kind !== "metric").map((node) => node.name));
  const methods = circuit.header.methods.map((method) => method.key);
  const taken = new Set();
  const groups = [];
  for (const { name, members } of state.groups ?? []) {
    const own = [...new Set(members)].filter((member) => groupable.has(member) && !taken.has(member));
    if (own.length < 2 || typeof name !== "string" || groups.some((group) => group.name === name)) continue;
    own.forEach((member) => taken.add(member));
    groups.push({ name, members: own });
  }
  const visible = (name) => (names.has(name) && !taken.has(name)) || groups.some((g) => `group/${g.name}` === name);
  return {
    node: visible(state.node) ? state.node : null,
    pins: [...new Set(state.pins ?? [])].filter(visible),
    groups,
    labels: Object.fromEntries(Object.entries(state.labels ?? {}).filter(([, text]) => typeof text === "string")),
    size: methods.includes(state.size) ? state.size : DEFAULTS.size,
    against: methods.slice(1).includes(state.against) || state.against === "" ? state.against : null,
    least: Number.isFinite(state.least) ? Math.max(0, state.least) : DEFAULTS.least,
    all: state.all === true,
    flag: ["", "any", ...FLAGS].includes(state.flag) ? state.flag : "",
    query: typeof state.query === "string" ? state.query : "",
    tab: TABS.includes(state.tab) ? state.tab : DEFAULTS.tab,
  };
}
