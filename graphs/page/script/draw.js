/** Draws the circuit on a canvas: grid, edges, nodes, names, and axes that stay in view while the rest moves. */

import { VARIOUS } from "./circuit.js";
import { placeNames } from "./names.js";

const OPACITY = [1, 0.5, 0.13];
const WIDTH_CLASSES = 6;
const SELECTION = 6.5;
/** Most room that the slanted name of a column takes. */
const TURNED_LENGTH = 118;
/** With more edges than this, edges are drawn fainter and thinner. */
const CROWD = 150;

/**
 * @param scene {circuit, layout, view: {k, x, y}, plot: {left, top, width, height}, palette, sizeKey, edges, cone,
 *   dimmed (0 bright, 1 further away in the cone, 2 outside), rings, named, selected, hovered, focused, pins, axis}
 */
export function draw(context, scene) {
  const { plot, palette } = scene;
  context.fillStyle = palette.paper;
  context.fillRect(0, 0, plot.left + plot.width + plot.right, plot.top + plot.height + plot.bottom);
  context.save();
  context.beginPath();
  context.rect(plot.left, plot.top, plot.width, plot.height);
  context.clip();
  drawGrid(context, scene);
  drawEdges(context, scene);
  drawNodes(context, scene);
  context.restore();
  drawBandAxis(context, scene);
  drawTokenAxis(context, scene);
  drawNames(context, scene);
}

/** The place of a node on the canvas. */
export function onScreen({ layout, view, plot }, index) {
  return [plot.left + view.x + view.k * layout.x[index], plot.top + view.y + view.k * layout.y[index]];
}

/** The index of the nearest node within reach of a point of the canvas, or null. */
export function nodeAt(scene, x, y) {
  const { plot } = scene;
  if (x < plot.left || x > plot.left + plot.width || y < plot.top || y > plot.top + plot.height) return null;
  let [best, nearest] = [null, Infinity];
  for (const { index } of scene.circuit.nodes) {
    const [nx, ny] = onScreen(scene, index);
    const distance = Math.hypot(nx - x, ny - y);
    if (distance < Math.max(8, radiusOf(scene, index) + 3) && distance < nearest) [best, nearest] = [index, distance];
  }
  return best;
}

function radiusOf({ layout, view }, index) {
  return layout.radius[index] * Math.min(2.5, Math.max(0.8, view.k));
}

function drawGrid(context, { circuit, layout, view, plot, palette }) {
  circuit.bands.forEach((band, n) => {
    const { top, bottom } = layout.bands[n];
    const y = plot.top + view.y + view.k * top;
    if (band.layer !== null && band.layer % 2 === 0) {
      context.fillStyle = palette.stripe;
      context.fillRect(plot.left, y, plot.width, view.k * (bottom - top));
    }
    context.fillStyle = palette.line;
    const ends = circuit.bands[n + 1]?.layer !== band.layer || band.layer === null;
    if (ends) context.fillRect(plot.left, y, plot.width, 1);
  });
  context.fillStyle = palette.line;
  for (const { left } of layout.columns.slice(1)) {
    context.fillRect(plot.left + view.x + view.k * left, plot.top, 1, plot.height);
  }
}

/** What tells edges apart: their sign, or on the page of two circuits which of them has the edge, by colour and dashes. */
function edgeStyles({ circuit, palette }) {
  const { weight, membership } = circuit.edges;
  if (!membership) return { styles: [[palette.positive, []], [palette.negative, []]], styleOf: (edge) => (weight[edge] < 0 ? 1 : 0) };
  return { styles: [[palette.only_a, [7, 4]], [palette.only_b, [2, 3]], [palette.neutral, []]], styleOf: (edge) => membership[edge] - 1 };
}

/** One path for each class of width and style, which draws 50,000 edges in a tenth of a second. */
function drawEdges(context, scene) {
  const { circuit, cone, dimmed, edges } = scene;
  const { weight } = circuit.edges;
  const { styles, styleOf } = edgeStyles(scene);
  const largest = Math.max(...edges.slice(0, 1).map((edge) => Math.abs(weight[edge])), 1e-30);
  const classes = Array.from({ length: styles.length * WIDTH_CLASSES }, () => ({ near: new Path2D(), far: new Path2D(), any: 0 }));
  for (const edge of edges) {
    const share = Math.sqrt(Math.abs(weight[edge]) / largest);
    const group = classes[styles.length * Math.min(WIDTH_CLASSES - 1, Math.floor(share * WIDTH_CLASSES)) + styleOf(edge)];
    const ends = [circuit.edges.source[edge], circuit.edges.target[edge]];
    const near = ends.some((node) => (cone ? cone.distance[node] === 0 : dimmed[node] < 2));
    addCurve(near ? group.near : group.far, scene, edge);
    group.any++;
  }
  const crowd = Math.min(1, Math.sqrt(CROWD / Math.max(1, edges.length)));
  classes.forEach(({ near, far, any }, n) => {
    if (!any) return;
    const share = (Math.floor(n / styles.length) + 1) / WIDTH_CLASSES;
    const [colour, dash] = styles[n % styles.length];
    context.strokeStyle = colour;
    context.setLineDash(dash);
    context.lineWidth = 0.4 + 3 * share * Math.sqrt(crowd);
    context.globalAlpha = (0.12 + 0.6 * share) * crowd;
    context.stroke(near);
    context.globalAlpha *= 0.35;
    context.stroke(far);
  });
  context.setLineDash([]);
  context.globalAlpha = 1;
}

function addCurve(path, scene, edge) {
  const [x0, y0] = onScreen(scene, scene.circuit.edges.source[edge]);
  const [x1, y1] = onScreen(scene, scene.circuit.edges.target[edge]);
  const bend = (y1 - y0) / 2;
  path.moveTo(x0, y0);
  path.bezierCurveTo(x0, y0 + bend, x1, y1 - bend, x1, y1);
}

function drawNodes(context, scene) {
  const order = scene.circuit.nodes.map((node) => node.index);
  order.sort((a, b) => scene.dimmed[b] - scene.dimmed[a] || scene.layout.radius[a] - scene.layout.radius[b]);
  for (const index of order) drawNode(context, scene, index);
  for (const index of [scene.selected, scene.focused, scene.hovered]) {
    if (index !== null) drawNode(context, scene, index, true);
  }
}

function drawNode(context, scene, index, bright = false) {
  const { circuit, palette, rings, pins, selected, focused } = scene;
  const node = circuit.nodes[index];
  const [x, y] = onScreen(scene, index);
  const r = radiusOf(scene, index);
  const effect = node.effects[scene.sizeKey];
  context.globalAlpha = bright ? 1 : OPACITY[scene.dimmed[index]];
  context.beginPath();
  outline(context, node.kind, x, y, r);
  if (node.membership) fillByMembership(context, node, x, r, palette);
  else {
    context.fillStyle = fillOf(node, effect, palette);
    context.fill();
  }
  const halved = node.membership === 1 || node.membership === 2;
  context.lineWidth = pins.has(index) ? 2.5 : halved ? 1.4 : 1;
  context.strokeStyle = pins.has(index) ? palette.ink : halved ? membershipColour(node.membership, palette) : palette.edge;
  context.stroke();
  if (rings[index]) ring(context, x, y, r + 2.6, 1.7, palette[rings[index]], rings[index] === "phantom" ? [3, 2.5] : []);
  if (index === selected) around(context, node, x, y, r + SELECTION, 2.5, palette.ink, []);
  if (index === focused) around(context, node, x, y, r + SELECTION + 3, 1.5, palette.accent, [4, 3]);
  context.globalAlpha = 1;
}

/** The present outline, filled whole for a node of both circuits, in its left half for one of A, in its right for one of B. */
function fillByMembership(context, { membership }, x, r, palette) {
  const colour = membershipColour(membership, palette);
  context.fillStyle = membership === 3 ? colour : palette.paper;
  context.fill();
  if (membership === 3) return;
  context.save();
  context.clip();
  context.fillStyle = colour;
  context.fillRect(membership === 1 ? x - 2 * r : x, -1e5, 2 * r, 2e5);
  context.restore();
}

const membershipColour = (membership, palette) => [palette.only_a, palette.only_b, palette.neutral][membership - 1];

function fillOf(node, effect, palette) {
  if (node.kind === "metric" || effect === undefined) return palette.neutral;
  return effect < 0 ? palette.negative : palette.positive;
}

function outline(context, kind, x, y, r) {
  if (kind === "error") polygon(context, [[x, y - 1.25 * r], [x + 1.25 * r, y], [x, y + 1.25 * r], [x - 1.25 * r, y]]);
  else if (kind === "token") context.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  else if (kind === "metric") polygon(context, starPoints(x, y, 1.25 * r));
  else if (kind === "supernode") context.roundRect(x - 1.5 * r, y - r, 3 * r, 2 * r, 0.6 * r);
  else context.arc(x, y, r, 0, 2 * Math.PI);
}

function polygon(context, points) {
  points.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
}

function starPoints(x, y, r) {
  return Array.from({ length: 10 }, (_, n) => {
    const [angle, length] = [(n * Math.PI) / 5, n % 2 ? 0.45 * r : r];
    return [x + length * Math.sin(angle), y - length * Math.cos(angle)];
  });
}

/** An outline around a node: wide for a supernode, else a circle. */
function around(context, node, x, y, r, width, colour, dash) {
  if (node.kind !== "supernode") return ring(context, x, y, r, width, colour, dash);
  context.beginPath();
  context.roundRect(x - 1.35 * r, y - r, 2.7 * r, 2 * r, 0.5 * r);
  return line(context, width, colour, dash);
}

function ring(context, x, y, r, width, colour, dash) {
  context.beginPath();
  context.arc(x, y, r, 0, 2 * Math.PI);
  line(context, width, colour, dash);
}

function line(context, width, colour, dash) {
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.setLineDash(dash);
  context.stroke();
  context.setLineDash([]);
}

/** The layers at the left, and the parts within each layer. */
function drawBandAxis(context, { circuit, layout, view, plot, palette }) {
  context.save();
  context.beginPath();
  context.rect(0, plot.top, plot.left, plot.height);
  context.clip();
  context.textBaseline = "middle";
  circuit.bands.forEach((band, n) => {
    const { top, bottom } = layout.bands[n];
    const y = plot.top + view.y + (view.k * (top + bottom)) / 2;
    context.font = `11px ${palette.font}`;
    context.fillStyle = palette.faint;
    context.textAlign = "right";
    context.fillText(clipped(context, band.part, plot.left - 40), plot.left - 8, y);
    if (band.layer !== null && circuit.bands[n - 1]?.layer !== band.layer) {
      let last = n;
      while (circuit.bands[last + 1]?.layer === band.layer) last++;
      context.font = `600 12px ${palette.font}`;
      context.fillStyle = palette.ink;
      context.textAlign = "left";
      context.fillText(`L${band.layer}`, 8, plot.top + view.y + (view.k * (layout.bands[last].top + bottom)) / 2);
    }
  });
  context.restore();
}

/** The clean token of each position, below it the patch token if it differs, and the position's name. */
function drawTokenAxis(context, { circuit, layout, view, plot, palette, axis }) {
  context.save();
  context.beginPath();
  context.rect(plot.left - (axis.turned ? 30 : 0), plot.top + plot.height, plot.width + (axis.turned ? 30 : 0), plot.bottom);
  context.clip();
  circuit.header.positions.forEach((position, n) => {
    const { left, right } = layout.columns[n];
    const [x, y] = [plot.left + view.x + (view.k * (left + right)) / 2, plot.top + plot.height + 8];
    const room = view.k * (right - left) - 6;
    if (x < plot.left || x > plot.left + plot.width) return;
    if (axis.turned) turnedLabel(context, position, x, y, palette);
    else levelLabel(context, position, x, y, room, palette);
  });
  context.restore();
}

function levelLabel(context, { label, clean_token: clean, patch_token: patch }, x, y, room, palette) {
  context.textAlign = "center";
  context.textBaseline = "top";
  context.font = `12px ${palette.mono}`;
  context.fillStyle = palette.ink;
  context.fillText(clipped(context, shown(clean), room), x, y);
  if (patch !== clean) {
    context.fillStyle = palette.accent;
    context.fillText(clipped(context, `→ ${shown(patch)}`, room), x, y + 16);
  }
  context.font = `10px ${palette.font}`;
  context.fillStyle = palette.faint;
  context.fillText(clipped(context, label, room), x, y + 33);
}

function turnedLabel(context, { label, clean_token: clean, patch_token: patch }, x, y, palette) {
  context.save();
  context.translate(x + 3, y);
  context.rotate(-Math.PI / 4);
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.font = `11px ${palette.mono}`;
  context.fillStyle = patch === clean ? palette.ink : palette.accent;
  const tokens = patch === clean ? shown(clean) : `${shown(clean)} → ${shown(patch)}`;
  const text = clean === VARIOUS || label === tokens ? label : `${label}: ${tokens}`;
  context.fillText(clipped(context, text, TURNED_LENGTH), 0, 4);
  context.restore();
}

/** A token with visible spaces, tabs and line ends. */
export function shown(token) {
  return token.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^ +$/, (spaces) => "␣".repeat(spaces.length)).trim();
}

/** The text, shortened with an ellipsis until it fits. */
export function clipped(context, text, room) {
  const letters = Array.from(text.slice(0, 400));
  if (context.measureText(letters.join("")).width <= room) return letters.join("");
  let [low, high] = [0, letters.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (context.measureText(`${letters.slice(0, middle).join("")}…`).width <= room) low = middle;
    else high = middle - 1;
  }
  return low ? `${letters.slice(0, low).join("")}…` : "";
}

/** The radius that names keep clear: that of the node, or of the outline of the selected one. */
function roomOf(scene, index) {
  return radiusOf(scene, index) + (index === scene.selected ? SELECTION : 0);
}

function drawNames(context, scene) {
  const { palette, plot } = scene;
  context.font = `12px ${palette.font}`;
  context.textBaseline = "middle";
  context.textAlign = "left";
  const wanted = scene.named.map(({ index, text, important }) => {
    const [x, y] = onScreen(scene, index);
    const own = clipped(context, text, important ? 300 : 190);
    return { text: own, x, y, radius: roomOf(scene, index), width: context.measureText(own).width, important };
  });
  const bright = scene.circuit.nodes.filter(({ index }) => scene.dimmed[index] < 2);
  const obstacles = bright.map(({ index }) => ({ place: onScreen(scene, index), radius: roomOf(scene, index), kept: index === scene.selected }));
  for (const { text, x, y, width, important } of placeNames(wanted, plot, obstacles)) {
    context.fillStyle = palette.paper;
    context.globalAlpha = 0.85;
    context.beginPath();
    context.roundRect(x - 3, y - 9, width + 6, 18, 4);
    context.fill();
    context.globalAlpha = 1;
    context.fillStyle = important ? palette.accent : palette.ink;
    context.fillText(text, x, y);
  }
}
