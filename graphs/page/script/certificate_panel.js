/** The certificate: what to trust, in plain words, then the evidence as two plots. */

import { el, plainNumber, signed } from "./dom.js";
import { faithfulnessPlot, scatter } from "./plots.js";

const MARKS = { green: "●", amber: "▲", red: "■", grey: "○" };
const SUMMARY = {
  green: "Every line is green.",
  amber: "Mind the amber lines.",
  red: "Do not rely on what the red lines say.",
  grey: "Nothing is known of how far to trust this circuit.",
};

export function certificatePanel(app) {
  const { header } = app.base;
  const of = (...colours) => header.certificate.filter((line) => colours.includes(line.colour));
  return [
    el("h2", { tabindex: -1 }, "How far to trust this circuit"),
    el("p", { class: `grade ${header.grade}` }, el("span", { class: "mark-of-grade" }, MARKS[header.grade]), SUMMARY[header.grade]),
    el("ul", { class: "lines" }, of("red", "amber").map(lineOf)),
    el("p", {}, whatWasMeasured(header)),
    faithfulnessSection(header),
    scatterSection(app),
    of("green").length ? [el("h3", {}, "What can be relied on"), el("ul", { class: "lines" }, of("green").map(lineOf))] : null,
    of("grey").length ? el("details", {}, el("summary", {}, `${of("grey").length} facts without a judgement`), el("ul", { class: "lines" }, of("grey").map(lineOf))) : null,
    el("p", { class: "faint" }, header.measurement.evidence),
  ];
}

function whatWasMeasured(header) {
  const measured = header.measurement;
  if (measured.patch_value === "none") return `Node effects are ${measured.method.replaceAll("_", " ")}: ${measured.sign}. No node was patched.`;
  const total = `${signed(measured.total_effect)} ${measured.metric_unit}`;
  const exact = { all: "is what it does alone, patched exactly", some: "is what it does alone, patched where this was verified, else estimated", none: "is an estimate; no node was patched" };
  return `Taking the whole prompt to its patch version changes ${measured.metric.replaceAll("_", " ")} by ${total} (mean of ${measured.examples} pairs). A node's effect ${exact[header.exact]}; in ${measured.unit}; ${measured.sign}. Errors ${measured.error_mode}, patch value ${measured.patch_value}.`;
}

function lineOf(line) {
  return el(
    "li",
    { class: line.colour },
    el("span", { class: "mark-of-grade", "aria-hidden": "true" }, MARKS[line.colour]),
    el("div", {}, el("strong", {}, line.name), " ", el("span", { class: "value" }, line.value), el("p", {}, line.reading, " ", el("span", { class: "rule" }, `(${line.rule})`))),
  );
}

function faithfulnessSection(header) {
  if (!header.faithfulness.length && !header.curves.length) return null;
  const words = header.curves.length
    ? "Keep only the strongest nodes and ablate the rest: F by how many are kept. 1 is the whole model. Dots: this circuit."
    : "Keep only the circuit and ablate the rest. 1 is the whole model. No curve over sizes was measured.";
  return el("section", {}, el("h3", {}, "Faithfulness"), el("p", { class: "faint" }, words), faithfulnessPlot(header.curves, header.faithfulness));
}

function scatterSection(app) {
  const key = app.against();
  if (!key) return el("p", { class: "faint" }, app.base.header.exact === "none" ? "No node was patched, so no estimate can be held against the truth." : "No estimate is held against these effects.");
  const name = app.methodName(key);
  const wrong = app.view.nodes.filter((node) => node.wrong[key]).length;
  const threshold = plainNumber(app.base.header.threshold, 2);
  return el(
    "section",
    {},
    el("h3", {}, `${name} against the effects shown`),
    el("p", { class: "faint" }, `${wrong} nodes are ringed: ${name} is wrong about their own effect, from ${threshold} ${app.base.header.measurement.unit} on. Choose a mark to see its node.`),
    scatter(app.view.nodes, key, { name, unit: app.base.header.measurement.unit, selected: app.selected(), choose: app.visit, nameOf: app.nameOf }),
  );
}
