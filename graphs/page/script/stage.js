/** The canvas: builds the scene from the state, and turns pointer and key events into changes of the state. */

import { signed } from "./dom.js";
import { draw, nodeAt, onScreen, shown } from "./draw.js";
import { cone, FAR, strongest } from "./edges.js";
import { labelsFit, layOut } from "./layout.js";

const MOST_STRONGEST = 250;
const MOST_IN_CONE = 800;
const NAMED_AT_REST = 8;
const NAMED_IN_CONE = 10;

export class Stage {
  constructor(app, canvas, tooltip, announce) {
    Object.assign(this, { app, canvas, tooltip, announce });
    this.context = canvas.getContext("2d");
    this.view = { k: 1, x: 0, y: 0 };
    this.fitted = true;
    this.hovered = null;
    this.focused = null;
    this.listen();
  }

  /** Recompute sizes, places and colours. */
  rebuild() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.palette = paletteOf(this.canvas);
    const wanted = this.labelWidths();
    const turned = !labelsFit(this.app.view, width - 90, wanted);
    this.plot = { left: 78, top: 8, right: 10, bottom: turned ? 100 : 56 };
    this.plot.width = Math.max(50, width - this.plot.left - this.plot.right);
    this.plot.height = Math.max(50, height - this.plot.top - this.plot.bottom);
    this.axis = { turned };
    this.layout = this.layOut(turned ? wanted.map(() => 0) : wanted);
    this.laidOut = { view: this.app.view, size: this.app.state.size };
    if (this.fitted) this.view = { k: this.wholeScale(), x: 0, y: 0 };
    this.update();
  }

  /** If the nodes need more height than there is, they are laid out in a plot enlarged equally in both directions. */
  layOut(labels) {
    const sizeOf = (node) => this.app.sizeOf(node);
    const layout = layOut(this.app.view, this.plot, sizeOf, labels);
    const factor = layout.height / this.plot.height;
    return factor <= 1 ? layout : layOut(this.app.view, { width: factor * this.plot.width, height: layout.height }, sizeOf, labels);
  }

  labelWidths() {
    this.context.font = `12px ${this.palette.mono}`;
    return this.app.base.header.positions.map(({ label, clean_token: clean, patch_token: patch }) => {
      const [one, two] = [shown(clean), patch === clean ? "" : `→ ${shown(patch)}`].map((text) => this.context.measureText(text.slice(0, 40)).width);
      return Math.min(120, Math.max(one, two, 5.2 * Math.min(label.length, 14)) + 10);
    });
  }

  /** Rebuild the scene from the state and draw it in the next frame. */
  update() {
    const { app } = this;
    if (this.laidOut.view !== app.view || this.laidOut.size !== app.state.size) {
      this.hovered = null;
      this.focused = null;
      this.laidOut = null;
      this.rebuild();
      return;
    }
    const { least, all } = app.state;
    const selected = app.selected();
    const from = selected === null ? [] : [selected];
    this.cone = from.length ? cone(app.view, from, least) : null;
    this.edges = all ? strongest(app.view, Infinity, least) : this.cone ? this.cone.edges.slice(0, MOST_IN_CONE) : strongest(app.view, MOST_STRONGEST, least);
    const { layout, view, plot, palette, axis, edges } = this;
    const pins = new Set(app.pinned().map((node) => node.index));
    const place = { circuit: app.view, layout, view, plot, palette, axis };
    this.scene = { ...place, sizeKey: app.state.size, edges, cone: this.cone, dimmed: this.dimmed(), rings: this.rings(), selected, pins };
    this.redraw();
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.drawNow();
    });
  }

  drawNow() {
    Object.assign(this.scene, { hovered: this.hovered, focused: this.focused, view: this.view, named: this.named() });
    draw(this.context, this.scene);
  }

  dimmed() {
    const { app } = this;
    const matching = app.filtered() ? new Set(app.matching().map((node) => node.index)) : null;
    return Uint8Array.from(app.view.nodes, ({ index }) => {
      const distance = this.cone ? Math.abs(this.cone.distance[index]) : 0;
      return (matching && !matching.has(index)) || distance === FAR ? 2 : distance > 1 ? 1 : 0;
    });
  }

  rings() {
    return this.app.view.nodes.map((node) => this.app.ringOf(node));
  }

  /** Nodes whose names are shown, most important first. */
  named() {
    const { app, scene } = this;
    const important = [this.hovered, this.focused, scene.selected].filter((index) => index !== null);
    const pins = [...scene.pins];
    const around = this.cone ? this.neighbours() : this.strongestMatching();
    const order = [...new Set([...important, ...pins, ...around])];
    return order.map((index) => ({ index, text: app.nameOf(app.view.nodes[index]), important: important.includes(index) || scene.pins.has(index) }));
  }

  neighbours() {
    const { source, target } = this.app.view.edges;
    const ends = this.cone.edges.filter((edge) => this.cone.distance[source[edge]] === 0 || this.cone.distance[target[edge]] === 0);
    return ends.slice(0, NAMED_IN_CONE).map((edge) => (this.cone.distance[source[edge]] === 0 ? target[edge] : source[edge]));
  }

  strongestMatching() {
    const nodes = this.app.matching().filter((node) => node.kind !== "token");
    const sized = nodes.toSorted((a, b) => this.app.sizeOf(b) - this.app.sizeOf(a));
    return sized.slice(0, this.app.filtered() ? 2 * NAMED_IN_CONE : NAMED_AT_REST).map((node) => node.index);
  }

  /** The scale at which the whole circuit fits into the plot, at most 1. */
  wholeScale() {
    return Math.min(1, this.plot.width / this.layout.width, this.plot.height / this.layout.height);
  }

  /** Show the whole circuit, also after the window is resized, until it is moved or zoomed. */
  fit() {
    this.fitted = true;
    this.view = { k: this.wholeScale(), x: 0, y: 0 };
    this.redraw();
  }

  zoom(factor, x = this.plot.left + this.plot.width / 2, y = this.plot.top + this.plot.height / 2) {
    const k = Math.min(12, Math.max(Math.min(0.4, this.wholeScale()), this.view.k * factor));
    const [px, py] = [x - this.plot.left, y - this.plot.top];
    const ratio = k / this.view.k;
    this.view = { k, x: px - ratio * (px - this.view.x), y: py - ratio * (py - this.view.y) };
    this.fitted = false;
    this.redraw();
  }

  pan(x, y) {
    this.view = { ...this.view, x: this.view.x + x, y: this.view.y + y };
    this.fitted = false;
    this.redraw();
  }

  /** Move the view so that it contains a node. */
  reveal(index) {
    const [x, y] = onScreen(this.scene, index);
    const { left, top, width, height } = this.plot;
    if (x < left || x > left + width || y < top || y > top + height) this.pan(left + width / 2 - x, top + height / 2 - y);
  }

  listen() {
    const { canvas } = this;
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = { x: event.offsetX, y: event.offsetY, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return this.hover(event);
      const [dx, dy] = [event.offsetX - from.x, event.offsetY - from.y];
      if (!from.moved && Math.hypot(dx, dy) < 4) return undefined;
      this.pan(dx, dy);
      from = { x: event.offsetX, y: event.offsetY, moved: true };
      return this.hideTooltip();
    });
    canvas.addEventListener("pointerup", (event) => {
      const clicked = from && !from.moved;
      from = null;
      if (clicked) this.click(event.offsetX, event.offsetY);
    });
    canvas.addEventListener("pointercancel", () => (from = null));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.focusOn(null));
  }

  click(x, y) {
    const found = nodeAt(this.scene, x, y);
    this.focused = null;
    if (found === null) this.app.clear();
    else this.app.select(found);
  }

  hover(event) {
    const found = event && nodeAt(this.scene, event.offsetX, event.offsetY);
    if (found === this.hovered) return;
    this.hovered = found;
    this.canvas.classList.toggle("over-node", found !== null);
    if (found === null) this.hideTooltip();
    else this.showTooltip(found);
    this.redraw();
  }

  showTooltip(index) {
    const node = this.app.view.nodes[index];
    const [x, y] = onScreen(this.scene, index);
    this.tooltip.textContent = `${this.app.nameOf(node).slice(0, 300)}\n${this.describe(node)}`;
    this.tooltip.hidden = false;
    const { width, height } = this.tooltip.getBoundingClientRect();
    const room = this.canvas.getBoundingClientRect();
    this.tooltip.style.left = `${Math.max(4, Math.min(x + 14, room.width - width - 4))}px`;
    this.tooltip.style.top = `${y + 18 + height < room.height ? y + 18 : Math.max(4, y - height - 18)}px`;
  }

  hideTooltip() {
    this.hovered = null;
    this.tooltip.hidden = true;
  }

  describe(node) {
    const { header } = this.app.base;
    const where = node.kind === "metric" ? "" : node.members ? `${node.members.length} nodes` : `at ${header.positions[node.position].label}`;
    const effects = header.methods.filter(({ key }) => key in node.effects && node.kind !== "metric").map(({ key, name }) => `${name} ${signed(node.effects[key])}`);
    const wrong = node.wrong[this.app.against()];
    const flagged = wrong ? `${this.app.methodName(this.app.against())}: ${wrong.replace("_", " ")}` : "";
    return [where, this.app.membershipOf(node), effects.join(", "), flagged].filter(Boolean).join("; ");
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (step && event.shiftKey) this.pan(-40 * step[0], 40 * step[1]);
    else if (step) this.move(...step);
    else if ((event.key === "Enter" || event.key === " ") && this.focused !== null) this.app.select(this.focused);
    else return;
    event.preventDefault();
  }

  /** Move the focus to the nearest node in a direction: within the row, or in the next band that has nodes. */
  move(right, up) {
    const { nodes } = this.app.view;
    const seen = nodes.filter((node) => this.scene.dimmed[node.index] < 2);
    const pool = seen.length ? seen : nodes;
    if (!pool.length) return this.announce("The circuit has no nodes.");
    const now = this.focused ?? this.scene.selected;
    if (now === null) return this.focusOn(pool.reduce((a, b) => (this.app.sizeOf(b) > this.app.sizeOf(a) ? b : a)).index);
    const next = right ? this.along(pool, now, right) : this.across(pool, now, up);
    return next === null ? this.announce("There is no further node in this direction.") : this.focusOn(next);
  }

  along(pool, now, right) {
    const { x, y } = this.layout;
    const row = pool.filter(({ index, band }) => band === this.app.view.nodes[now].band && index !== now);
    const ahead = row.filter(({ index }) => right * (x[index] - x[now]) > 0 || (x[index] === x[now] && right * (y[now] - y[index]) > 0));
    return nearest(ahead, ({ index }) => Math.abs(x[index] - x[now]) + 0.3 * Math.abs(y[index] - y[now]));
  }

  across(pool, now, up) {
    const { x } = this.layout;
    const { band } = this.app.view.nodes[now];
    const ahead = pool.filter((node) => up * (node.band - band) > 0);
    if (!ahead.length) return null;
    const next = Math.min(...ahead.map((node) => up * node.band)) * up;
    return nearest(ahead.filter((node) => node.band === next), ({ index }) => Math.abs(x[index] - x[now]));
  }

  focusOn(index) {
    this.focused = index;
    if (index !== null) {
      const node = this.app.view.nodes[index];
      this.reveal(index);
      this.announce(`${this.app.nameOf(node)}, ${this.describe(node)}`);
    }
    this.redraw();
  }
}

function nearest(nodes, distance) {
  return nodes.length ? nodes.reduce((a, b) => (distance(b) < distance(a) ? b : a)).index : null;
}

/** The style sheet's colours, which follow the system's dark or light mode. */
export function paletteOf(element) {
  const style = getComputedStyle(element);
  const names = ["ink", "faint", "paper", "stripe", "line", "edge", "positive", "negative", "neutral", "accent", "only_a", "only_b", "sign_flip", "missed", "phantom", "wrong_size", "font", "mono"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name.replace("_", "-")}`).trim()]));
}
