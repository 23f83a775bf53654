/** Starts the page: reads its data and state, builds its parts, and keeps them and the URL in sync. */

import { App } from "./app.js";
import { certificatePanel } from "./certificate_panel.js";
import { circuitFrom, counted } from "./circuit.js";
import { comparisonPanel } from "./comparison_panel.js";
import { buildControls } from "./controls.js";
import { unpack } from "./data.js";
import { el, signed } from "./dom.js";
import { nodesPanel, pinnedPanel } from "./lists.js";
import { nodePanel } from "./node_panel.js";
import { download, fileName, pageWith } from "./save.js";
import { helpContent, legendContent } from "./signs.js";
import { Stage } from "./stage.js";
import { DEFAULTS, fitted, fromFragment, toFragment } from "./state.js";

const PANELS = { certificate: certificatePanel, nodes: nodesPanel, node: nodePanel, pinned: pinnedPanel };

const byId = (id) => document.getElementById(id);

async function start() {
  const pristine = `<!doctype html>\n${document.documentElement.outerHTML}`;
  const base = circuitFrom(await unpack(byId("data").textContent));
  const saved = { ...DEFAULTS, ...JSON.parse(byId("state").textContent) };
  const announce = (text) => (byId("announcer").textContent = text);

  const app = new App(base, fromFragment(location.hash, saved), changed);
  const stage = new Stage(app, byId("graph"), byId("tooltip"), announce);
  const actions = {
    save: () => download(pageWith(pristine, app.state), fileName(base.header.title)),
    reset: () => stage.fit(),
    help: () => byId("help").showModal(),
    toList: () => byId("side").querySelector("#matches button")?.focus(),
  };
  const setControls = buildControls(app, actions);
  const side = buildSide(app);
  // In a page saved with a state, an empty address means that state, so that the defaults need an address of their own.
  const cleared = toFragment(fitted(saved, base)) ? `tab=${DEFAULTS.tab}` : "";
  let written = null;

  function changed() {
    written = app.fragment() || cleared;
    if (written !== location.hash.slice(1)) history.replaceState(null, "", written ? `#${written}` : location.pathname + location.search);
    show();
  }

  function show() {
    stage.update();
    setControls();
    side.show();
    byId("facts").textContent = factsOf(app, stage);
    byId("graph").setAttribute("aria-label", `Circuit with ${counted(app.view.nodes)} nodes and ${app.view.edges.weight.length} edges. ${stage.edges.length} edges are drawn.`);
  }

  const { comparison } = base.header;
  byId("legend").replaceChildren(...legendContent(comparison));
  byId("help").replaceChildren(...helpContent(() => byId("help").close(), comparison));
  stage.palette = null;
  stage.hideTooltip();
  window.addEventListener("hashchange", () => {
    if (location.hash.slice(1) !== written) app.set(fromFragment(location.hash));
  });
  window.addEventListener("keydown", (event) => shortcuts(event, app, stage, actions));
  new ResizeObserver(() => stage.rebuild()).observe(byId("graph"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => stage.rebuild());
  stage.rebuild();
  stage.fit();
  show();
  if (app.selected() !== null) stage.reveal(app.selected());
  stage.drawNow();
  document.documentElement.dataset.ready = "true";
}

function factsOf(app, stage) {
  const { measurement } = app.base.header;
  const total = app.view.edges.weight.length;
  const drawn = stage.edges.length;
  const inView = `${counted(app.view.nodes)} nodes · ${drawn === total ? total : `${drawn} of ${total}`} edges drawn`;
  if (app.base.header.comparison) return [...app.base.header.comparison.totals, inView].join(" · ");
  return `${measurement.metric.replaceAll("_", " ")} ${signed(measurement.total_effect)} ${measurement.metric_unit} · ${measurement.examples} ${measurement.examples === 1 ? "pair" : "pairs"} · ${inView}`;
}

/** The tabs and the panel of the chosen one; the panel is rebuilt after every change. */
function buildSide(app) {
  const { comparison } = app.base.header;
  const panels = comparison ? { ...PANELS, certificate: comparisonPanel } : PANELS;
  const names = { certificate: comparison ? "Comparison" : "Certificate", nodes: "Nodes", node: "Node", pinned: "Pinned" };
  const tabs = Object.entries(names).map(([key, name]) =>
    el("button", { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": "panel", onclick: () => app.change({ tab: key }) }, name),
  );
  const list = el("div", { role: "tablist", "aria-label": "Details", onkeydown: (event) => moveTab(event, tabs) }, tabs);
  const panel = el("div", { role: "tabpanel", id: "panel", tabindex: 0 });
  document.getElementById("side").replaceChildren(list, panel);
  let shownTab = null;
  let shownNode = null;
  const show = () => {
    const { tab, node, pins } = app.state;
    for (const button of tabs) {
      const chosen = button.id === `tab-${tab}`;
      button.setAttribute("aria-selected", String(chosen));
      button.setAttribute("tabindex", chosen ? 0 : -1);
    }
    tabs[3].textContent = pins.length ? `Pinned (${pins.length})` : "Pinned";
    panel.setAttribute("aria-labelledby", `tab-${tab}`);
    const { scrollTop } = panel;
    const hadFocus = panel.contains(document.activeElement);
    panel.replaceChildren(...panels[tab](app).flat(Infinity).filter(Boolean));
    const same = tab === shownTab && node === shownNode;
    panel.scrollTop = same ? scrollTop : 0;
    if (hadFocus) (panel.querySelector("h2") ?? panel).focus({ preventScroll: same });
    [shownTab, shownNode] = [tab, node];
  };
  return { show };
}

function moveTab(event, tabs) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
  next.click();
  next.focus();
}

function shortcuts(event, app, stage, actions) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("help").open) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range" && event.target.type !== "checkbox";
  if (event.key === "Escape") {
    if (app.state.query || app.state.flag) app.change({ query: "", flag: "" });
    else app.clear();
    document.getElementById("graph").focus();
    return;
  }
  if (typing) return;
  const keys = {
    "/": () => document.getElementById("search").select(),
    "?": actions.help,
    0: actions.reset,
    "+": () => stage.zoom(1.25),
    "=": () => stage.zoom(1.25),
    "-": () => stage.zoom(0.8),
    p: () => app.selected() !== null && app.togglePin(app.selected()),
    g: () => (app.change({ tab: "pinned" }), document.getElementById("group-name")?.focus()),
    s: actions.save,
  };
  if (!(event.key in keys)) return;
  event.preventDefault();
  keys[event.key]();
}

start().catch((error) => {
  document.getElementById("side").textContent = `This page cannot be displayed: ${error.message}`;
  throw error;
});
