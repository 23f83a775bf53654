/** Edges by node, the cone of a node, the strongest edges, and groups of nodes collapsed into supernodes. */

/** Nodes and edges, with an index of each node's incoming and outgoing edges, strongest first. */
export function wireUp(nodes, edges) {
  const order = strongestFirst(edges.weight);
  return {
    nodes,
    edges,
    order,
    incoming: byNode(edges.target, order, nodes.length),
    outgoing: byNode(edges.source, order, nodes.length),
  };
}

/** Edge numbers by falling |weight|. */
function strongestFirst(weight) {
  const order = Uint32Array.from(weight, (_, n) => n);
  const size = Float32Array.from(weight, Math.abs);
  return order.toSorted((a, b) => size[b] - size[a] || a - b);
}

/** The edges with node n at this end are `list[start[n]] .. list[start[n + 1] - 1]`. */
function byNode(end, order, count) {
  const start = new Uint32Array(count + 1);
  for (const node of end) start[node + 1]++;
  for (let n = 0; n < count; n++) start[n + 1] += start[n];
  const next = start.slice();
  const list = new Uint32Array(end.length);
  for (const edge of order) list[next[end[edge]]++] = edge;
  return { start, list };
}

/** The edges of one node at one end with |weight| >= least, strongest first. */
export function edgesAt(circuit, side, node, least) {
  const { start, list } = circuit[side];
  const found = [];
  for (let n = start[node]; n < start[node + 1]; n++) {
    if (Math.abs(circuit.edges.weight[list[n]]) < least) break;
    found.push(list[n]);
  }
  return found;
}

/**
 * Everything up- and downstream of some nodes along edges with |weight| >= least.
 * @returns {{distance: Int16Array, edges: number[]}} distance: 0 the nodes themselves, -k upstream, k downstream in
 *   steps, FAR elsewhere. edges: those of the cone, strongest first.
 */
export function cone(circuit, from, least) {
  const distance = new Int16Array(circuit.nodes.length).fill(FAR);
  const inCone = new Uint8Array(circuit.edges.weight.length);
  for (const node of from) distance[node] = 0;
  walk(circuit, from, least, "incoming", circuit.edges.source, -1, distance, inCone);
  walk(circuit, from, least, "outgoing", circuit.edges.target, 1, distance, inCone);
  const edges = [];
  for (const edge of circuit.order) if (inCone[edge]) edges.push(edge);
  return { distance, edges };
}

export const FAR = 32767;

function walk(circuit, from, least, side, otherEnd, step, distance, inCone) {
  const reached = new Uint8Array(distance.length);
  let front = [...from];
  for (const node of front) reached[node] = 1;
  for (let steps = step; front.length; steps += step) {
    const next = [];
    for (const node of front) {
      for (const edge of edgesAt(circuit, side, node, least)) {
        inCone[edge] = 1;
        const other = otherEnd[edge];
        if (reached[other]) continue;
        reached[other] = 1;
        if (distance[other] === FAR) distance[other] = steps;
        next.push(other);
      }
    }
    front = next;
  }
}

/** The strongest `count` edges with |weight| >= least. */
export function strongest(circuit, count, least) {
  const found = [];
  for (const edge of circuit.order) {
    if (found.length === count || Math.abs(circuit.edges.weight[edge]) < least) break;
    found.push(edge);
  }
  return found;
}

/**
 * The circuit with the members of each group as one node. Effects of members are summed, and so are weights of edges
 * that then join the same two nodes; edges inside a group disappear.
 * @param groups [{name, members: node numbers}], no node in two groups
 */
export function collapse(circuit, groups) {
  if (!groups.length) return circuit;
  const home = new Int32Array(circuit.nodes.length).fill(-1);
  groups.forEach(({ members }, group) => members.forEach((node) => (home[node] = group)));
  const nodes = groups.map((group, index) => supernode(group, index, circuit));
  const place = new Uint32Array(circuit.nodes.length);
  circuit.nodes.forEach((node, n) => {
    if (home[n] >= 0) place[n] = home[n];
    else {
      place[n] = nodes.length;
      nodes.push({ ...node, index: nodes.length });
    }
  });
  return { ...circuit, ...wireUp(nodes, addedUp(circuit.edges, place, nodes.length)) };
}

/** The inclusion rate, in percent, of an edge that has none. */
export const NO_RATE = 255;

/** Values that a group does not have, although its members do. */
const NOT_MEASURED = {
  place: null,
  feature: 0,
  mean_absolute: null,
  standard_error: null,
  clean: null,
  patch: null,
  carried: null,
  undivided: null,
  inclusion: null,
  inclusion_templates: null,
  count: 0,
  verified: 0,
  undecided: 0,
  closed_effect: null,
  open_effect: null,
  flags: {},
  findings: [],
  wrong: {},
};

function supernode({ name, members }, index, circuit) {
  const own = members.map((n) => circuit.nodes[n]);
  const strongestOwn = own.reduce((a, b) => (Math.abs(b.effects.effect) > Math.abs(a.effects.effect) ? b : a));
  const effects = {};
  for (const { key } of circuit.header.methods) {
    if (own.every((node) => key in node.effects)) effects[key] = own.reduce((sum, node) => sum + node.effects[key], 0);
  }
  return {
    ...NOT_MEASURED,
    index,
    kind: "supernode",
    name: `group/${name}`,
    short: name,
    members: own,
    membership: own.reduce((bits, node) => bits | node.membership, 0),
    effects,
    band: strongestOwn.band,
    site: strongestOwn.site,
    position: strongestOwn.position,
  };
}

function addedUp(edges, place, count) {
  const sums = new Map();
  for (let edge = 0; edge < edges.weight.length; edge++) {
    const source = place[edges.source[edge]];
    const target = place[edges.target[edge]];
    if (source === target) continue;
    const key = source * count + target;
    const sum = sums.get(key);
    if (sum) {
      sum.weight += edges.weight[edge];
      sum.parts += 1;
      sum.membership |= edges.membership?.[edge];
    } else sums.set(key, { source, target, weight: edges.weight[edge], parts: 1, edge, membership: edges.membership?.[edge] });
  }
  const found = [...sums.values()];
  return {
    source: Uint32Array.from(found, (sum) => sum.source),
    target: Uint32Array.from(found, (sum) => sum.target),
    weight: Float32Array.from(found, (sum) => sum.weight),
    error: Float32Array.from(found, (sum) => (sum.parts === 1 ? edges.error[sum.edge] : NaN)),
    count: Uint32Array.from(found, (sum) => (sum.parts === 1 ? edges.count[sum.edge] : 0)),
    inclusion: Uint8Array.from(found, (sum) => (sum.parts === 1 ? edges.inclusion[sum.edge] : NO_RATE)),
    membership: edges.membership && Uint8Array.from(found, (sum) => sum.membership),
  };
}
