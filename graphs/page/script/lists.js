/** The panels that list nodes: the matching ones, and the pinned and grouped ones. */

import { counted } from "./circuit.js";
import { el, signed } from "./dom.js";

const MOST_ROWS = 120;

/** Matching nodes by falling |effect|; also the way to reach a node without a pointer. */
export function nodesPanel(app) {
  const matching = app.matching();
  const found = matching.toSorted((a, b) => Math.abs(app.sizeOf(b)) - Math.abs(app.sizeOf(a)));
  const left = found.length - MOST_ROWS;
  return [
    el("h2", { tabindex: -1 }, `${counted(found)} of ${counted(app.view.nodes)} nodes`),
    el("p", { class: "faint" }, app.filterWords()),
    found.length ? null : el("p", {}, "No node matches. Clear the search or the flag (Esc)."),
    el("ul", { class: "edges", id: "matches" }, found.slice(0, MOST_ROWS).map((node) => rowOf(app, node))),
    left > 0 ? el("p", { class: "faint" }, `${left} weaker nodes are not listed; search to find them.`) : null,
  ];
}

function rowOf(app, node) {
  const value = node.kind === "metric" ? undefined : node.effects[app.state.size];
  const at = node.kind === "metric" || node.members ? "" : ` at ${app.base.header.positions[node.position].label}`;
  const wrong = node.wrong[app.against()];
  return el(
    "li",
    {},
    el(
      "button",
      { type: "button", class: `${value < 0 ? "negative" : "positive"} strength-1`, title: node.name, onclick: () => app.visit(node.index) },
      el("span", { dir: "auto" }, `${app.nameOf(node)}${at}`),
      wrong ? el("span", { class: `flag ${wrong}` }, wrong.replace("_", " ")) : null,
      el("span", { class: "number" }, value === undefined ? "" : signed(value)),
    ),
  );
}

/** Pinned nodes, the form that groups them, and the groups. */
export function pinnedPanel(app) {
  const pins = app.pinned();
  const groupable = pins.filter((node) => node.kind !== "metric");
  return [
    el("h2", { tabindex: -1 }, `${pins.length} pinned`),
    pins.length ? null : el("p", {}, "Click a node twice, or press Enter twice, to pin it. Pinned nodes can be grouped into a supernode."),
    el("ul", { class: "plain" }, pins.map((node) => el("li", {}, el("button", { type: "button", class: "link", dir: "auto", onclick: () => app.visit(node.index) }, app.nameOf(node)), " ", el("button", { type: "button", "aria-label": `Unpin ${app.nameOf(node)}`, onclick: () => app.togglePin(node.index) }, "Unpin")))),
    groupable.length > 1 ? groupForm(app) : null,
    app.state.groups.length ? el("h3", {}, "Supernodes") : null,
    el("ul", { class: "plain" }, app.state.groups.map((group) => groupOf(app, group))),
  ];
}

function groupForm(app) {
  const input = el("input", { type: "text", id: "group-name", required: true, maxlength: 120, placeholder: "Name of the supernode", "aria-label": "Name of the supernode" });
  const submit = (event) => {
    event.preventDefault();
    const problem = app.groupPinned(input.value.trim());
    input.setCustomValidity(problem ?? "");
    if (problem) input.reportValidity();
  };
  input.addEventListener("input", () => input.setCustomValidity(""));
  return el("form", { class: "edit", onsubmit: submit }, input, el("button", {}, "Group the pinned nodes"));
}

function groupOf(app, group) {
  return el("li", {}, el("strong", { dir: "auto" }, group.name), ` · ${group.members.length} nodes `, el("button", { type: "button", "aria-label": `Ungroup ${group.name}`, onclick: () => app.ungroup(group.name) }, "Ungroup"));
}
