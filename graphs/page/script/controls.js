/** The tool bar: what sizes and rings show, which edges are drawn, the filter, the search, and actions on the page. */

import { el, plainNumber } from "./dom.js";
import { FLAGS } from "./state.js";

const STEPS = 100;

export function buildControls(app, actions) {
  const { methods, comparison } = app.base.header;
  const weights = app.base.order.length ? [app.base.edges.weight[app.base.order.at(-1)], app.base.edges.weight[app.base.order[0]]] : [1, 1];
  const range = weights.map((weight) => Math.max(Math.abs(weight), 1e-9));
  const parts = {
    size: select("size", "Size", methods.map(({ key, name }) => [key, name]), (size) => app.change({ size })),
    against: select("against", "Rings", [["", "none"], ...methods.slice(1).map(({ key, name }) => [key, `where ${name} is wrong`])], (against) => app.change({ against })),
    flag: select("flag", "Flag", [["", "all nodes"], ["any", "any flag"], ...FLAGS.map((flag) => [flag, flag.replace("_", " ")])], (flag) => app.change({ flag, tab: flag ? "nodes" : app.state.tab })),
    least: slider(range, (least) => app.change({ least })),
    all: checkbox("all", "all edges", (all) => app.change({ all })),
    query: search((query) => app.change({ query, tab: query ? "nodes" : app.state.tab }), actions.toList),
  };
  const buttons = [
    el("button", { type: "button", id: "save", onclick: actions.save }, "Save page"),
    el("button", { type: "button", id: "reset", onclick: actions.reset, title: "Show the whole circuit (0)" }, "Fit"),
    el("button", { type: "button", id: "help-button", onclick: actions.help, "aria-label": "Help: keys and symbols" }, "?"),
  ];
  const shown = Object.entries(parts).filter(([name]) => !comparison || !["against", "flag"].includes(name));
  document.getElementById("controls").replaceChildren(...shown.map(([, part]) => part.element), el("div", { class: "group" }, buttons));
  return () => {
    parts.size.set(app.state.size);
    parts.against.set(app.against() ?? "");
    parts.flag.set(app.state.flag);
    parts.least.set(app.state.least);
    parts.all.set(app.state.all);
    parts.query.set(app.state.query);
  };
}

function select(id, name, options, chosen) {
  const input = el("select", { id, onchange: () => chosen(input.value) }, options.map(([value, text]) => el("option", { value }, text)));
  return { element: el("label", { class: "group" }, `${name} `, input), set: (value) => (input.value = value) };
}

function checkbox(id, name, chosen) {
  const input = el("input", { type: "checkbox", id, onchange: () => chosen(input.checked) });
  return { element: el("label", { class: "group" }, input, ` ${name}`), set: (value) => (input.checked = value) };
}

/** Least |weight| of the edges drawn, from all edges to the strongest alone, in steps of equal ratio. */
function slider([low, high], chosen) {
  const output = el("output", { for: "least" });
  const weightAt = (step) => (step === 0 ? 0 : low * (high / low) ** (step / STEPS));
  const stepAt = (weight) => (weight <= low ? 0 : Math.round((STEPS * Math.log(weight / low)) / Math.log(high / low || 2)));
  const input = el("input", { type: "range", id: "least", min: 0, max: STEPS, step: 1, oninput: () => chosen(weightAt(Number(input.value))) });
  const set = (weight) => {
    input.value = stepAt(weight);
    output.value = plainNumber(weight, 2);
    input.setAttribute("aria-valuetext", `edges with a weight of at least ${output.value}`);
  };
  return { element: el("label", { class: "group" }, "|w| ≥ ", input, output), set };
}

function search(chosen, toList) {
  const input = el("input", { type: "search", id: "search", placeholder: "label, token, index ( / )", "aria-label": "Search by label, token or index", oninput: () => chosen(input.value) });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "ArrowDown") {
      event.preventDefault();
      toList();
    }
  });
  const set = (value) => {
    if (input.value !== value) input.value = value;
  };
  return { element: el("div", { class: "group" }, input), set };
}
