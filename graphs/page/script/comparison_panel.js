/** What two circuits share, in numbers; F of each on each task; and how they were compared. */

import { el } from "./dom.js";

export function comparisonPanel(app) {
  const { comparison } = app.base.header;
  return [
    el("h2", { tabindex: -1 }, "What the two circuits share"),
    el("p", {}, comparison.headline),
    el("div", { class: "actions" }, [3, 1, 2].map((membership) => choice(app, membership))),
    el("table", { class: "measured" }, el("tbody", {}, comparison.numbers.map(numberOf))),
    faithfulnessTable(comparison),
    comparison.missing.length ? [el("h3", {}, "Not measured"), sentences(comparison.missing)] : null,
    comparison.notes.length ? [el("h3", {}, "How they were compared"), sentences(comparison.notes)] : null,
  ];
}

/** A button that lists the nodes of both circuits, or of one alone. */
function choice(app, membership) {
  const words = app.membershipOf({ membership });
  const count = app.base.nodes.filter((node) => node.membership === membership && node.kind !== "token" && node.kind !== "metric").length;
  return el("button", { type: "button", onclick: () => app.change({ query: words, tab: "nodes" }) }, `${count} ${words}`);
}

const numberOf = ({ label, value, reading }) => el("tr", {}, el("th", { scope: "row" }, label), el("td", { class: "number" }, value), el("td", { class: "faint" }, reading));

function faithfulnessTable({ faithfulness, heads }) {
  if (!faithfulness.length) return null;
  return el(
    "section",
    {},
    el("h3", {}, "Faithfulness of each on each task"),
    el("p", { class: "faint" }, "F: what a circuit alone keeps of the task, 1 being the whole model. Completeness: what the rest keeps without it."),
    el("table", { class: "measured" }, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, faithfulness.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell)))))),
  );
}

const sentences = (texts) => el("ul", { class: "plain" }, texts.map((text) => el("li", {}, text)));
