/** The state of the page and all changes to it. Panels, controls and canvas read the state and redraw after a change. */

import { collapse } from "./edges.js";
import { fitted, toFragment } from "./state.js";

export class App {
  /** @param base the circuit; @param state the state to start from; @param changed called after every change */
  constructor(base, state, changed) {
    this.base = base;
    this.changed = changed;
    this.byName = new Map(base.nodes.map((node) => [node.name, node.index]));
    this.visit = this.visit.bind(this);
    this.nameOf = this.nameOf.bind(this);
    this.set(state, false);
  }

  /** Set the state; parts that do not fit the circuit are dropped. */
  set(state, tell = true) {
    const groupsBefore = JSON.stringify(this.state?.groups);
    this.state = fitted(state, this.base);
    this.found = null;
    if (JSON.stringify(this.state.groups) !== groupsBefore) {
      const groups = this.state.groups.map(({ name, members }) => ({ name, members: members.map((m) => this.byName.get(m)) }));
      this.view = collapse(this.base, groups);
      this.indexOf = new Map(this.view.nodes.map((node) => [node.name, node.index]));
    }
    if (tell) this.changed();
  }

  change(part) {
    this.set({ ...this.state, ...part });
  }

  refresh() {
    this.changed();
  }

  fragment() {
    return toFragment(this.state);
  }

  /** Index of the selected node in the view, or null. */
  selected() {
    return this.indexOf.get(this.state.node) ?? null;
  }

  pinned() {
    return this.state.pins.map((name) => this.view.nodes[this.indexOf.get(name)]);
  }

  /** Trace the node; if it is selected already, pin or unpin it. */
  select(index) {
    const { name } = this.view.nodes[index];
    if (this.state.node === name) this.togglePin(index);
    else this.visit(index);
  }

  /** Trace the node and show its panel, whether or not it is selected already. */
  visit(index) {
    this.change({ node: this.view.nodes[index].name, tab: "node" });
  }

  clear() {
    this.change({ node: null, tab: this.state.tab === "node" ? "certificate" : this.state.tab });
  }

  togglePin(index) {
    const { name } = this.view.nodes[index];
    const pins = this.state.pins.includes(name) ? this.state.pins.filter((pin) => pin !== name) : [...this.state.pins, name];
    this.change({ pins });
  }

  /** Group the pinned nodes, and the members of pinned groups, into one supernode. Returns what is wrong with the name, or null. */
  groupPinned(name) {
    if (!name) return "Give the supernode a name.";
    const taken = this.pinned().filter((node) => node.kind !== "metric");
    const absorbed = new Set(taken.filter((node) => node.members).map((node) => node.short));
    const others = this.state.groups.filter((group) => !absorbed.has(group.name));
    if (others.some((group) => group.name === name)) return `There is a supernode “${name}” already.`;
    const members = taken.flatMap((node) => (node.members ?? [node]).map((member) => member.name));
    const gone = new Set(taken.map((node) => node.name));
    const pins = [...this.state.pins.filter((pin) => !gone.has(pin)), `group/${name}`];
    this.change({ groups: [...others, { name, members }], pins, node: `group/${name}`, tab: "node" });
    return null;
  }

  ungroup(name) {
    const group = this.state.groups.find((own) => own.name === name);
    const pins = this.state.pins.flatMap((pin) => (pin === `group/${name}` ? group.members : [pin]));
    this.change({ groups: this.state.groups.filter((own) => own !== group), pins, node: null, tab: "pinned" });
  }

  relabel(node, text) {
    const { [keyOf(node)]: _, ...labels } = this.state.labels;
    const given = this.base.header.labels[node.place]?.text ?? "";
    this.change({ labels: text.trim() === given ? labels : { ...labels, [keyOf(node)]: text.trim() } });
  }

  /** The node's label, or null if it has none. */
  labelOf(node) {
    const own = this.state.labels[keyOf(node)];
    return own ?? this.base.header.labels[node.place]?.text ?? null;
  }

  nameOf(node) {
    const label = this.labelOf(node);
    return label ? `${node.short} ${inBrief(label)}` : node.short;
  }

  /** Key of the estimate that is compared with the effects: the chosen one, else IG, else the first; null for none. */
  against() {
    const keys = this.base.header.methods.slice(1).map((method) => method.key);
    if (this.state.against === "" || this.base.header.exact === "none") return null;
    return this.state.against ?? (keys.includes("ig") ? "ig" : (keys[0] ?? null));
  }

  /**
   * The flag of a node's ring: that of the chosen estimate against the effect, both means over all pairs. In a circuit
   * without estimates: a flag that the check gave in at least half of the node's pairs.
   */
  ringOf(node) {
    const key = this.against();
    if (key !== null) return node.wrong[key] ?? null;
    if (this.base.header.methods.length > 1) return null;
    return Object.keys(node.flags).find((flag) => 2 * node.flags[flag] >= node.count) ?? null;
  }

  methodName(key) {
    return this.base.header.methods.find((method) => method.key === key).name;
  }

  sizeOf(node) {
    return Math.abs(node.effects[this.state.size] ?? 0);
  }

  /** Nodes that match the search and the flag. */
  matching() {
    this.found ??= this.view.nodes.filter((node) => this.matches(node));
    return this.found;
  }

  filtered() {
    return this.state.flag !== "" || this.state.query !== "";
  }

  matches(node) {
    const { flag, query } = this.state;
    const ring = this.ringOf(node);
    if (flag === "any" ? !ring : flag && ring !== flag) return false;
    return !query || this.searchText(node).includes(query.toLowerCase());
  }

  searchText(node) {
    const position = this.base.header.positions[node.position];
    const tokens = node.kind === "metric" || node.members ? "" : `${position.label} ${position.clean_token} ${position.patch_token}`;
    return `${node.name} ${node.short} ${this.labelOf(node) ?? ""} ${tokens} ${this.membershipOf(node)}`.toLowerCase();
  }

  /** Which of two circuits has the node, in words; empty on the page of one circuit. */
  membershipOf({ membership }) {
    if (!membership) return "";
    const [a, b] = this.base.header.comparison.names;
    return [`only in ${a}`, `only in ${b}`, "in both circuits"][membership - 1];
  }

  filterWords() {
    const { flag, query, size } = this.state;
    const words = [flag === "any" ? "flagged" : flag.replace("_", " "), query && `matching “${query}”`].filter(Boolean);
    return `${words.length ? `${words.join(", ")}; ` : ""}sorted by |effect| (${this.methodName(size)})`;
  }
}

/** The first part of an automatic label, without its opening words; other labels are short already. */
const inBrief = (label) => label.split(" | ")[0].replace(/^fires on: /, "");

const keyOf = (node) => node.place ?? node.name;
