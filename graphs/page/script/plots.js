/** The small plots of the side panel, as SVG: estimate against exact, faithfulness by size, a node's path along α. */

import { el, plainNumber, signed, svg } from "./dom.js";

const WIDTH = 380;

/** Linear map of [low, high] onto [from, to]. */
function scale(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

/** About `count` round numbers between low and high. */
export function ticks(low, high, count = 4) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((s) => s >= rough);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) found.push(n * step);
  return found;
}

function frame(height, name, description) {
  const title = svg("title", {}, description);
  return svg("svg", { class: `plot ${name}`, viewBox: `0 0 ${WIDTH} ${height}`, role: "group", "aria-label": description }, title);
}

function xTicks(plot, x, values, bottom, top) {
  for (const value of values) {
    plot.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: bottom }));
    plot.append(svg("text", { class: "tick", x: x(value), y: bottom + 14, "text-anchor": "middle" }, tick(value)));
  }
}

function yTicks(plot, y, values, left, right) {
  for (const value of values) {
    plot.append(svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
    plot.append(svg("text", { class: "tick", x: left - 5, y: y(value) + 4, "text-anchor": "end" }, tick(value)));
  }
}

const tick = (value) => String(Number(value.toPrecision(3))).replace("-", "−");

/**
 * One mark per feature or error: effect (x) and estimate (y); on the diagonal they agree. Arrow keys move from mark to mark
 * by falling error; Enter or a click selects.
 */
export function scatter(nodes, key, { name, unit, selected, choose, nameOf }) {
  const shown = nodes.filter((node) => key in node.effects && (node.kind === "feature" || node.kind === "error"));
  const values = shown.flatMap((node) => [node.effects.effect, node.effects[key]]);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const pad = 0.06 * (high - low || 1);
  const [x, y] = [scale(low - pad, high + pad, 52, WIDTH - 12), scale(low - pad, high + pad, 224, 10)];
  const plot = frame(262, "scatter", `${name} against the effect shown, ${shown.length} features and errors`);
  xTicks(plot, x, ticks(low, high), 224, 10);
  yTicks(plot, y, ticks(low, high), 52, WIDTH - 12);
  plot.append(svg("line", { class: "diagonal", x1: x(low), y1: y(low), x2: x(high), y2: y(high) }));
  plot.append(svg("text", { class: "axis", x: (52 + WIDTH - 12) / 2, y: 256, "text-anchor": "middle" }, `effect (${unit})`));
  const upwards = svg("text", { class: "axis", transform: "translate(12 117) rotate(-90)", "text-anchor": "middle" }, name);
  plot.append(upwards);
  const byError = shown.toSorted((a, b) => errorOf(b, key) - errorOf(a, key));
  const marks = byError.map((node) => mark(node, key, x, y, { selected, choose, nameOf }));
  for (const element of marks.toReversed()) plot.append(element);
  roving(plot, marks);
  return plot;
}

const errorOf = (node, key) => Math.abs(node.effects[key] - node.effects.effect);

function mark(node, key, x, y, { selected, choose, nameOf }) {
  const wrong = node.wrong[key];
  const words = `${nameOf(node)}: effect ${signed(node.effects.effect)}, estimate ${signed(node.effects[key])}`;
  return svg(
    "circle",
    {
      class: `mark ${node.effects.effect < 0 ? "negative" : "positive"} ${wrong ?? ""} ${node.index === selected ? "selected" : ""}`,
      cx: x(node.effects.effect),
      cy: y(node.effects[key]),
      r: node.index === selected ? 6 : 4,
      tabindex: -1,
      role: "button",
      "aria-label": wrong ? `${words}, ${wrong.replace("_", " ")}` : words,
      onclick: () => choose(node.index),
      onkeydown: (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        choose(node.index);
      },
    },
    svg("title", {}, words),
  );
}

/** Tab reaches one mark; the arrow keys move on from it. */
function roving(plot, marks) {
  if (!marks.length) return;
  marks[0].setAttribute("tabindex", 0);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const place = marks.indexOf(document.activeElement);
    if (!step || place < 0) return;
    event.preventDefault();
    const next = marks[(place + step + marks.length) % marks.length];
    marks[place].setAttribute("tabindex", -1);
    next.setAttribute("tabindex", 0);
    next.focus();
  });
}

/** F over the number of nodes: a line and a band for each split, and a dot for this circuit on it. */
export function faithfulnessPlot(curves, reports) {
  const sizes = [...curves.flatMap((curve) => curve.sizes), ...reports.map((report) => report.nodes)].filter((n) => n > 0);
  const lows = [...curves.flatMap((c) => c.low), ...reports.map((r) => r.low)].filter((v) => v !== null);
  const highs = [...curves.flatMap((c) => c.high), ...reports.map((r) => r.high)].filter((v) => v !== null);
  const values = [...curves.flatMap((c) => c.faithfulness), ...reports.map((r) => r.faithfulness), ...lows, ...highs];
  const [low, high] = [Math.min(0, Math.max(-1, Math.min(...values))), Math.max(1.05, Math.min(2, Math.max(...values)))];
  const x = logScale(Math.min(...sizes), Math.max(...sizes), 44, WIDTH - 14);
  const y = scale(low, high, 164, 10);
  const plot = frame(204, "curves", "Faithfulness by number of nodes, on each split");
  plot.append(svg("clipPath", { id: "curve-area" }, svg("rect", { x: 40, y: 6, width: WIDTH - 46, height: 162 })));
  yTicks(plot, y, ticks(low, high, 4), 44, WIDTH - 14);
  xTicks(plot, x, powers(Math.min(...sizes), Math.max(...sizes)), 164, 10);
  plot.append(svg("line", { class: "diagonal", x1: 44, x2: WIDTH - 14, y1: y(1), y2: y(1) }));
  plot.append(svg("text", { class: "axis", x: (44 + WIDTH - 14) / 2, y: 198, "text-anchor": "middle" }, "nodes (features and errors)"));
  const inside = svg("g", { "clip-path": "url(#curve-area)" });
  plot.append(inside);
  const splits = [...new Set([...reports, ...curves].map((entry) => entry.split))];
  splits.forEach((split, n) => {
    const curve = curves.find((c) => c.split === split);
    const report = reports.find((r) => r.split === split);
    if (curve) inside.append(...curveOf(curve, x, y, n));
    if (report) inside.append(...dotOf(report, x, y, n));
  });
  return el("figure", {}, plot, legendOf(splits, reports));
}

function logScale(low, high, from, to) {
  const inner = scale(Math.log10(low), Math.log10(Math.max(high, low * 2)), from, to);
  return (value) => inner(Math.log10(value));
}

function powers(low, high) {
  const found = [];
  for (let power = 10 ** Math.ceil(Math.log10(low) - 1e-9); power <= high * (1 + 1e-9); power *= 10) found.push(power);
  return found.length > 1 ? found : [low, high];
}

function curveOf(curve, x, y, n) {
  const points = curve.sizes.map((size, p) => [x(Math.max(1, size)), curve.faithfulness[p], curve.low[p], curve.high[p]]);
  const bounded = points.filter(([, , low]) => low !== null);
  const band = [...bounded.map(([px, , , high]) => [px, y(high)]), ...bounded.toReversed().map(([px, , low]) => [px, y(low)])];
  return [
    svg("polygon", { class: `band split-${n}`, points: band.map((p) => p.join(",")).join(" ") }),
    svg("polyline", { class: `line split-${n}`, points: points.map(([px, f]) => `${px},${y(f)}`).join(" ") }),
  ];
}

function dotOf(report, x, y, n) {
  const px = x(Math.max(1, report.nodes));
  const words = `${report.split}: F = ${report.faithfulness.toFixed(2)} with ${report.nodes} nodes, ${report.pairs} pairs`;
  const interval =
    report.low === null ? [] : [svg("line", { class: `interval split-${n}`, x1: px, x2: px, y1: y(report.low), y2: y(report.high) })];
  return [...interval, svg("circle", { class: `dot split-${n}`, cx: px, cy: y(report.faithfulness), r: 5 }, svg("title", {}, words))];
}

function legendOf(splits, reports) {
  return el(
    "ul",
    { class: "plot-legend" },
    splits.map((split, n) => {
      const report = reports.find((r) => r.split === split);
      const interval = report && report.low !== null ? ` [${report.low.toFixed(2)}, ${report.high.toFixed(2)}]` : "";
      const words = report ? `${splitName(split)}: ${report.faithfulness.toFixed(2)}${interval}` : splitName(split);
      return el("li", {}, svg("svg", { class: "swatch", viewBox: "0 0 12 12" }, svg("circle", { class: `dot split-${n}`, cx: 6, cy: 6, r: 5 })), words);
    }),
  );
}

const splitName = (split) => (split === "own" ? "training" : split.replaceAll("_", " "));

/** A node's own path: the metric, its slope (what gradients see), the margins of gates that flip, and the jumps. */
export function pathPlot(trace, gates) {
  const x = scale(0, 1, 52, WIDTH - 12);
  const jumps = [...new Map(gates.map((gate) => [gate.alpha.toFixed(4), gate])).values()];
  const panels = [
    { name: "metric", lines: [trace.metric] },
    { name: "slope dm/dα", lines: [trace.slope] },
    { name: "gate margins", lines: Object.values(trace.margins), zero: true },
  ].filter(({ lines }) => lines.length);
  const bottom = PATH_PANEL * panels.length + 2;
  const plot = frame(bottom + 34, "path", "The metric, its slope and the margins of gates along the node's own path");
  panels.forEach((panel, n) => pathPanel(plot, panel, PATH_PANEL * n, x, trace.alpha, jumps));
  xTicks(plot, x, [0, 0.25, 0.5, 0.75, 1], bottom + 2, bottom);
  plot.append(svg("text", { class: "axis", x: (52 + WIDTH - 12) / 2, y: bottom + 31, "text-anchor": "middle" }, "α: clean → patch"));
  for (const gate of jumps) {
    const words = `jump of ${signed(gate.size)} at α = ${plainNumber(gate.alpha, 2)}`;
    plot.append(svg("line", { class: "jump", x1: x(gate.alpha), x2: x(gate.alpha), y1: 10, y2: bottom }, svg("title", {}, words)));
  }
  return plot;
}

const PATH_PANEL = 86;

function pathPanel(plot, { name, lines, zero }, top, x, alpha, jumps) {
  const values = [...lines.flat(), ...(zero ? [0] : [])].filter(Number.isFinite);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const y = scale(low, high, top + PATH_PANEL - 4, top + 20);
  yTicks(plot, y, low === high ? [low] : [low, high], 52, WIDTH - 12);
  plot.append(svg("text", { class: "axis", x: WIDTH - 12, y: top + 14, "text-anchor": "end" }, name));
  if (zero && low < 0 && high > 0) plot.append(svg("line", { class: "diagonal", x1: 52, x2: WIDTH - 12, y1: y(0), y2: y(0) }));
  lines.forEach((line, n) => plot.append(...pieces(line, alpha, jumps, x, y, n, zero)));
}

/** A line, broken where the metric jumps. */
function pieces(line, alpha, jumps, x, y, n, whole) {
  const cuts = whole ? [] : jumps.map((gate) => gate.alpha);
  const groups = [[]];
  line.forEach((value, p) => {
    if (p && cuts.some((cut) => alpha[p - 1] < cut && cut <= alpha[p])) groups.push([]);
    groups.at(-1).push(`${x(alpha[p])},${y(value)}`);
  });
  return groups.map((points) => svg("polyline", { class: `line ${whole ? `margin-${n % 4}` : "slope"}`, points: points.join(" ") }));
}

/** Horizontal bars around a common zero, one for each method. */
export function bars(entries) {
  const largest = Math.max(...entries.map(({ value }) => Math.abs(value)), 1e-30);
  return el(
    "table",
    { class: "bars" },
    entries.map(({ name, value, flag }) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, name),
        el("td", { class: "bar" }, barOf(value / largest)),
        el("td", { class: "number" }, signed(value)),
        el("td", {}, flag ? el("span", { class: `flag ${flag}` }, flag.replace("_", " ")) : null),
      ),
    ),
  );
}

function barOf(share) {
  const width = 50 * Math.abs(share);
  return svg(
    "svg",
    { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: share < 0 ? "negative" : "positive", x: share < 0 ? 50 - width : 50, y: 0, width: Math.max(width, 0.4), height: 10 }),
    svg("line", { class: "zero", x1: 50, x2: 50, y1: 0, y2: 10 }),
  );
}
