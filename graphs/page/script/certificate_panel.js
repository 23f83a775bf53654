/** The certificate: what can be trusted, in words, and the evidence as two plots. */

import { el, plainNumber, signed } from "./dom.js";
import { faithfulnessPlot, scatter } from "./plots.js";

const MARKS = { green: "●", amber: "▲", red: "■", grey: "○" };
const SUMMARY = {
  green: "Every line is green.",
  amber: "Take care with the amber lines.",
  red: "Do not rely on what the red lines are about.",
  grey: "Nothing is known about how far this circuit can be trusted.",
};

export function certificatePanel(app) {
  const { header } = app.base;
  const leading = header.certificate.slice(0, header.warnings + 1); // warnings, then faithfulness, good or bad
  const first = leading.filter((line) => line.colour !== "grey");
  const of = (...colours) => header.certificate.filter((line) => colours.includes(line.colour) && !first.includes(line));
  return [
    el("h2", { tabindex: -1 }, "How far to trust this circuit"),
    el("p", { class: `grade ${header.grade}` }, el("span", { class: "mark-of-grade" }, MARKS[header.grade]), SUMMARY[header.grade]),
    el("ul", { class: "lines" }, [...first, ...of("red", "amber")].map(lineOf)),
    el("p", {}, whatWasMeasured(header)),
    faithfulnessSection(header),
    scatterSection(app),
    of("green").length ? [el("h3", {}, "What can be relied on"), el("ul", { class: "lines" }, of("green").map(lineOf))] : null,
    of("grey").length ? el("details", {}, el("summary", {}, `${of("grey").length} facts without a colour`), el("ul", { class: "lines" }, of("grey").map(lineOf))) : null,
    el("p", { class: "faint" }, header.measurement.evidence),
  ];
}

function whatWasMeasured(header) {
  const measured = header.measurement;
  if (measured.patch_value === "none") return `Node effects are ${measured.method.replaceAll("_", " ")}; ${measured.sign}. No node was patched.`;
  const total = `${signed(measured.total_effect)} ${measured.metric_unit}`;
  const change = measured.patch_value === "counterfactual" ? "Replacing the clean prompt by the patch prompt" : `Setting every node to its ${measured.patch_value} value`;
  const pairs = `${measured.examples} pair${measured.examples === 1 ? "" : "s"}`;
  const exact = { all: "was measured by patching it alone", some: "was measured by patching it alone where that was verified, and is estimated elsewhere", none: "is an estimate; no node was patched" };
  return `${change} changes the ${measured.metric.replaceAll("_", " ")} by ${total} (mean of ${pairs}). A node's effect ${exact[header.exact]}. Effects are in ${measured.unit}; ${measured.sign}. SAE errors: ${measured.error_mode}; patch value: ${measured.patch_value}.${Number.isInteger(measured.from_layer) ? ` Layers below ${measured.from_layer} are kept as they are.` : ""}`;
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
    ? "Faithfulness F when only the strongest nodes are kept and the rest is ablated, by the number of features and errors kept. 1 is the whole model. Dots: this circuit."
    : "Faithfulness F when only the circuit is kept and the rest is ablated. 1 is the whole model. F was not measured for circuits of other sizes.";
  return el("section", {}, el("h3", {}, "Faithfulness"), el("p", { class: "faint" }, words), faithfulnessPlot(header.curves, header.faithfulness));
}

function scatterSection(app) {
  const key = app.against();
  if (!key) return el("p", { class: "faint" }, app.base.header.exact === "none" ? "No node was patched, so there is no exact effect to compare an estimate with." : "No estimate is compared with these effects.");
  const name = app.methodName(key);
  const wrong = app.view.nodes.filter((node) => node.wrong[key]).length;
  const threshold = plainNumber(app.base.header.threshold, 2);
  return el(
    "section",
    {},
    el("h3", {}, `${name} against the effects shown`),
    el("p", { class: "faint" }, `${wrong} nodes are ringed: ${name} is wrong about their effect, where effects of at least ${threshold} ${app.base.header.measurement.unit} count as large. Select a mark to see its node.`),
    scatter(app.view.nodes, key, { name, unit: app.base.header.measurement.unit, selected: app.selected(), choose: app.visit, nameOf: app.nameOf }),
  );
}
