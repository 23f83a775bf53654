/** The legend and the help: what shapes, colours and rings mean, and what the keys do. */

import { el, svg } from "./dom.js";

const KEYS = [
  ["Arrow keys", "move from node to node; with Shift, move the view"],
  ["Enter", "trace the node up- and downstream; a second time: pin it"],
  ["/", "search by label, token or index"],
  ["p", "pin or unpin the selected node"],
  ["g", "group the pinned nodes into a supernode"],
  ["+  −  0", "zoom in, zoom out, show the whole circuit"],
  ["s", "save the page in its present state"],
  ["Esc", "clear the search, then the selection"],
];

const FLAG_WORDS = {
  sign_flip: "sign flip: the effect is large and the estimate has the other sign",
  missed: "missed: the effect is large, the estimate is below half the threshold",
  phantom: "phantom: the estimate is large, the effect is below half the threshold",
  wrong_size: "wrong size: the error is large and one of the two is more than twice the other",
};

/** @param comparison of two circuits, with their names; null on the page of one circuit */
export function legendContent(comparison = null) {
  const shapes = [
    ["feature", svg("circle", { cx: 7, cy: 7, r: 5 })],
    ["SAE error", svg("polygon", { points: "7,1 13,7 7,13 1,7" })],
    ["token", svg("rect", { x: 2, y: 2, width: 10, height: 10 })],
    ["metric", svg("polygon", { points: "7,0.5 8.9,4.9 13.6,5.3 10,8.4 11.1,13 7,10.5 2.9,13 4,8.4 0.4,5.3 5.1,4.9" })],
  ];
  return [
    ...shapes.map(([name, shape]) => item(name, "neutral", shape)),
    ...(comparison ? membershipSigns(comparison) : effectSigns()),
    el("span", {}, "size: |effect|"),
  ];
}

function effectSigns() {
  return [
    item("raises the metric", "positive", svg("circle", { cx: 7, cy: 7, r: 5 })),
    item("lowers the metric", "negative", svg("circle", { cx: 7, cy: 7, r: 5 })),
    item("edge that raises it", "line positive", svg("path", { d: "M-6 7H20" })),
    item("edge that lowers it", "line negative", svg("path", { d: "M-6 7H20" })),
    ...Object.keys(FLAG_WORDS).map((flag) => item(flag.replace("_", " "), `ring ${flag}`, svg("circle", { cx: 7, cy: 7, r: 5 }))),
  ];
}

function half(sweep) {
  return [svg("circle", { class: "outline", cx: 7, cy: 7, r: 5 }), svg("path", { d: `M7 2A5 5 0 0 ${sweep} 7 12Z` })];
}

/** Which circuit has a node or an edge: whole and solid for both, a half and dashes for one. */
function membershipSigns({ names: [a, b] }) {
  return [
    item("in both", "neutral", svg("circle", { cx: 7, cy: 7, r: 5 })),
    item(`only in ${a}`, "only_a", half(0)),
    item(`only in ${b}`, "only_b", half(1)),
    ...["", " only_a", " only_b"].map((style, n) => item(["edge of both", `only of ${a}`, `only of ${b}`][n], `line${style}`, svg("path", { d: "M-6 7H20" }))),
  ];
}

function item(name, style, shape) {
  return el("span", {}, svg("svg", { class: `sign ${style}`, viewBox: "0 0 14 14", "aria-hidden": "true" }, shape), name);
}

export function helpContent(close, comparison = null) {
  const widths = "Lines are edges. Their width shows |weight|; ";
  const colours = comparison ? "they are solid where both circuits have the edge, and dashed or dotted where one has it." : "they are green where the metric rises when the source takes its patch value, and purple where it falls.";
  return [
    el("h2", { id: "help-title" }, "Keys and symbols"),
    el("dl", {}, KEYS.map(([key, words]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, words)])),
    el("p", {}, "With a pointer: hover over a node to see its name, click to trace it, click again to pin it, drag to move the view, scroll to zoom."),
    comparison ? null : el("h3", {}, "Rings"),
    comparison ? null : el("ul", {}, Object.entries(FLAG_WORDS).map(([flag, words]) => el("li", {}, svg("svg", { class: `sign ring ${flag}`, viewBox: "0 0 14 14", "aria-hidden": "true" }, svg("circle", { cx: 7, cy: 7, r: 5 })), words))),
    el("p", {}, widths, colours, " Without a selected node the strongest edges are drawn; with one, all edges up- and downstream of it. Your choices are kept in the address and in saved pages."),
    el("button", { type: "button", onclick: close }, "Close"),
  ].filter(Boolean);
}
