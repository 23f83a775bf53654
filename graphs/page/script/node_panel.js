/** Everything known about one node: label, effects by every method, verdict, inputs and outputs, contexts. */

import { VARIOUS } from "./circuit.js";
import { el, plainNumber, signed } from "./dom.js";
import { shown } from "./draw.js";
import { NO_RATE, edgesAt } from "./edges.js";
import { bars, pathPlot } from "./plots.js";

const ROWS = 12;

export function nodePanel(app) {
  const index = app.selected();
  if (index === null) return [el("h2", { tabindex: -1 }, "No node is selected"), el("p", {}, "Click a node, or move to one with the arrow keys and press Enter.")];
  const node = app.view.nodes[index];
  return [
    el("p", { class: "mono faint" }, node.members ? `${node.members.length} nodes` : node.name),
    heading(app, node),
    el("p", { class: "faint" }, whereAndWhen(app, node)),
    membership(app, node),
    actions(app, node),
    effects(app, node),
    verdict(app, node),
    node.members ? membersOf(app, node) : null,
    el("div", { class: "sides" }, edgeList(app, node, "incoming", "Inputs"), edgeList(app, node, "outgoing", "Outputs")),
    node.findings.map((finding) => findingOf(app, finding)),
    evidence(app, node),
  ];
}

function heading(app, node) {
  const label = app.labelOf(node);
  return el("h2", { tabindex: -1, dir: "auto" }, label ? `${node.short} · ${label}` : node.short);
}

function whereAndWhen(app, node) {
  if (node.kind === "metric") return "The metric that effects are measured on.";
  if (node.members) return "A group: the effects of its members and the weights of their edges are summed. Only a joint patch would show what the members do together.";
  const position = app.base.header.positions[node.position];
  const patched = position.clean_token === position.patch_token ? [] : [" → ", quoted(position.patch_token)];
  const tokens = position.clean_token === VARIOUS ? "various tokens" : [quoted(position.clean_token), patched];
  const where = ["at ", el("bdi", {}, position.label), ": ", tokens];
  const values = node.clean === null || node.patch === null ? "" : ` · ${plainNumber(node.clean)} → ${plainNumber(node.patch)} on average`;
  return [where, `${values} · changes in ${node.count} of ${app.base.header.measurement.examples} pairs`];
}

/** A token in quotation marks; it keeps its own text direction. */
const quoted = (token) => ["“", el("bdi", {}, shown(token)), "”"];

/** Which of two circuits has the node, and the feature of the other's SAE that it matches. */
function membership(app, node) {
  if (!node.membership) return null;
  const said = app.base.header.comparison;
  const words = app.membershipOf(node);
  const more = [said.twins[node.name], said.effects[node.name]].filter(Boolean).map((text) => ` · ${text}`);
  return el("p", {}, el("strong", {}, words[0].toUpperCase() + words.slice(1)), more);
}

function actions(app, node) {
  const pinned = app.state.pins.includes(node.name);
  return el(
    "div",
    { class: "actions" },
    el("button", { type: "button", "aria-pressed": String(pinned), onclick: () => app.togglePin(node.index) }, pinned ? "Unpin" : "Pin"),
    node.kind === "feature" || node.kind === "error" ? el("button", { type: "button", id: "edit-label", onclick: () => editLabel(app, node) }, "Edit label") : null,
    node.members ? el("button", { type: "button", onclick: () => app.ungroup(node.short) }, "Ungroup") : null,
  );
}

function editLabel(app, node) {
  const input = el("input", { type: "text", id: "label-input", "aria-label": `Label of ${node.short}`, maxlength: 500 });
  input.value = app.labelOf(node) ?? "";
  const form = el("form", { class: "edit", onsubmit: (event) => (event.preventDefault(), app.relabel(node, input.value)) }, input, el("button", {}, "Save label"));
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    app.refresh();
    document.getElementById("edit-label")?.focus();
  });
  document.getElementById("edit-label").replaceWith(form);
  input.select();
}

function effects(app, node) {
  if (node.kind === "metric") return null;
  const { measurement, methods } = app.base.header;
  const entries = methods
    .filter(({ key }) => key in node.effects)
    .map(({ key, name }) => ({ name: node.members ? `Σ ${name}` : name, value: node.effects[key], flag: node.wrong[key] }));
  const error = node.standard_error === null ? "" : ` ± ${plainNumber(node.standard_error, 2)} (standard error)`;
  const absolute = node.mean_absolute === null ? "" : `Mean |effect| ${plainNumber(node.mean_absolute)}${error}. `;
  const title = measurement.patch_value === "none" ? measurement.method.replaceAll("_", " ") : node.verified || node.members ? "Effect on the metric when patched" : "Effect on the metric, estimated";
  return el("section", {}, el("h3", {}, `${title} (${measurement.unit})`), bars(entries), el("p", { class: "faint" }, absolute, howVerified(app, node)), undecided(app, node), stability(app, node));
}

/** The two values of an effect that rounding decides in some pairs. */
function undecided(app, node) {
  if (!node.undecided) return null;
  const values = `with gates within rounding closed ${signed(node.closed_effect)}, open ${signed(node.open_effect)}`;
  return el("p", {}, `Undecided in ${node.undecided} of these pairs, which count as 0: rounding decides a gate. On average, ${values}.`);
}

function stability(app, node) {
  const rates = [];
  for (const { over, resamples } of app.base.header.stability) {
    const rate = over === "templates" ? node.inclusion_templates : node.inclusion;
    if (rate !== null) rates.push(`${Math.round(rate * resamples)} of ${resamples} resamples of the ${over}`);
  }
  return rates.length ? el("p", {}, `Found again in ${rates.join(", and in ")}.`) : null;
}

function howVerified(app, node) {
  if (node.members || app.base.header.measurement.patch_value === "none") return "";
  if (node.verified === node.count) return "Exact: patched in every pair in which it changes.";
  return node.verified ? `Exact in ${node.verified} of these pairs, estimated in the others.` : "An estimate: the node was not patched.";
}

function verdict(app, node) {
  const flags = Object.entries(node.flags);
  if (!flags.length) return null;
  const words = flags.map(([flag, count]) => `${flag.replace("_", " ")} in ${count}`).join(", ");
  return el("p", {}, el("span", { class: `flag ${flags[0][0]}` }, "check"), ` ${app.base.header.measurement.flags_of ?? "Its estimate"}, pair by pair: ${words}.`);
}

function membersOf(app, node) {
  const strongestFirst = node.members.toSorted((a, b) => Math.abs(b.effects.effect) - Math.abs(a.effects.effect));
  return el("section", {}, el("h3", {}, "Members"), el("ul", { class: "plain" }, strongestFirst.map((member) => el("li", { dir: "auto" }, `${app.nameOf(member)} `, el("span", { class: "number" }, signed(member.effects.effect))))));
}

function edgeList(app, node, side, title) {
  const { edges } = app.view;
  const found = edgesAt(app.view, side, node.index, app.state.least);
  const other = side === "incoming" ? edges.source : edges.target;
  const largest = found.length ? Math.abs(edges.weight[found[0]]) : 1;
  const all = found.map((edge) => edgeRow(app, other[edge], edge, largest));
  const rest = all.length > ROWS ? el("details", {}, el("summary", {}, `${all.length - ROWS} more`), el("ul", { class: "edges" }, all.slice(ROWS))) : null;
  return el("section", {}, el("h3", {}, `${title} (${found.length})`), el("ul", { class: "edges" }, all.slice(0, ROWS)), rest);
}

function edgeRow(app, index, edge, largest) {
  const { weight, error, count, inclusion } = app.view.edges;
  const node = app.view.nodes[index];
  const strength = Math.ceil((5 * Math.abs(weight[edge])) / largest);
  const again = inclusion[edge] === NO_RATE ? "" : `, found again in ${inclusion[edge]}% of resamples`;
  const precise = Number.isNaN(error[edge]) ? "" : ` ± ${plainNumber(error[edge], 2)}, in ${count[edge]} pairs${again}`;
  return el(
    "li",
    {},
    el(
      "button",
      { type: "button", class: `${weight[edge] < 0 ? "negative" : "positive"} strength-${strength}`, title: `${node.name} ${signed(weight[edge])}${precise}`, onclick: () => app.visit(index) },
      el("span", { dir: "auto" }, app.nameOf(node)),
      el("span", { class: "number" }, signed(weight[edge], 2)),
    ),
  );
}

function findingOf(app, finding) {
  const cause = finding.cause ? `, mostly by ${finding.cause} (${signed(finding.parts[finding.cause])} of ${signed(finding.estimate - finding.exact)})` : "";
  const words = `Pair ${finding.example + 1}: ${finding.estimate_name} says ${signed(finding.estimate)}, patching says ${signed(finding.exact)}${cause}.`;
  return el(
    "section",
    { class: "finding" },
    el("h3", {}, el("span", { class: `flag ${finding.flag}` }, finding.flag.replace("_", " ")), " found by the check"),
    el("p", {}, words),
    finding.gates.length ? el("ul", { class: "plain" }, jumpsOf(finding.gates).slice(0, 4).map(jumpOf)) : null,
    finding.trace ? [el("h3", {}, "Its own path"), pathPlot(finding.trace, finding.gates)] : null,
  );
}

/** Gates that flip at the same α share one jump. */
function jumpsOf(gates) {
  const jumps = new Map();
  for (const gate of gates) {
    if (!jumps.has(gate.alpha)) jumps.set(gate.alpha, { alpha: gate.alpha, size: gate.size, gates: [] });
    jumps.get(gate.alpha).gates.push(gate);
  }
  return [...jumps.values()];
}

function jumpOf({ alpha, size, gates }) {
  const more = gates.length > 1 ? ` and ${gates.length - 1} more flip` : gates[0].opened ? " opens" : " closes";
  return el("li", {}, `At α = ${plainNumber(alpha, 2)} the metric jumps by ${signed(size)}: ${gates[0].name}${more}`);
}

function evidence(app, node) {
  const label = node.place ? app.base.header.labels[node.place] : null;
  if (!label) return null;
  return el(
    "section",
    {},
    el("h3", {}, label.contexts.length ? "Where it is most active" : "Label"),
    label.frequency === null ? null : el("p", { class: "faint" }, howOften(label)),
    el("ol", { class: "contexts" }, label.contexts.map(contextOf)),
    promoted("Promotes", label.promoted),
    promoted("Suppresses", label.suppressed),
  );
}

function howOften({ frequency, mean_activation: mean }) {
  if (!frequency) return "Not active anywhere in the corpus.";
  return `Active on ${plainNumber(100 * frequency, 2)}% of tokens${mean === null ? "" : `, with a mean activation of ${plainNumber(mean)}`}.`;
}

function contextOf({ tokens, place, activation }) {
  return el(
    "li",
    {},
    el("span", { class: "number" }, plainNumber(activation)),
    el("bdi", {}, tokens.slice(0, place).join("")),
    el("mark", { dir: "auto" }, tokens[place]),
    el("bdi", {}, tokens.slice(place + 1).join("")),
  );
}

function promoted(title, entries) {
  if (!entries?.length) return null;
  return el("p", { class: "tokens" }, `${title} `, entries.map(([token, weight]) => el("span", { class: "token", dir: "auto", title: signed(weight) }, shown(token) || "␣")));
}
