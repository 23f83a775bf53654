/** Cones, strongest edges and supernodes against plain twins, on random graphs. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { collapse, cone, edgesAt, FAR, strongest } from "../../../graphs/page/script/edges.js";
import { randomCircuit } from "./random_circuits.mjs";

const SEEDS = Array.from({ length: 30 }, (_, n) => n + 1);
const GROUPS = [{ name: "one", members: [3, 4, 5] }, { name: "two", members: [0, 9, 17] }];
const sizeOf = ({ edges }, edge) => Math.abs(edges.weight[edge]);
const edgeNumbers = (circuit) => Array.from(circuit.edges.weight, (_, n) => n);

/** Steps from `start` along strong edges, forwards or back, by relaxing all edges until nothing changes. */
function plainSteps({ nodes, edges }, start, least, forwards) {
  const steps = nodes.map((_, n) => (n === start ? 0 : Infinity));
  for (let changed = true; changed; ) {
    changed = false;
    edges.weight.forEach((weight, edge) => {
      const [from, to] = forwards ? [edges.source[edge], edges.target[edge]] : [edges.target[edge], edges.source[edge]];
      if (Math.abs(weight) >= least && steps[from] + 1 < steps[to]) {
        steps[to] = steps[from] + 1;
        changed = true;
      }
    });
  }
  return steps;
}

test("a cone is what strong edges reach up- and downstream, with the fewest steps, also where groups make circles", () => {
  let outside = 0;
  for (const seed of SEEDS) {
    const acyclic = randomCircuit(seed, 25, 0.12);
    const circuit = seed % 3 ? acyclic : collapse(acyclic, GROUPS);
    const [start, least] = [seed % 3 ? seed % 25 : 0, (seed % 4) / 8];
    const [down, up] = [plainSteps(circuit, start, least, true), plainSteps(circuit, start, least, false)];
    const found = cone(circuit, [start], least);
    const expected = circuit.nodes.map((_, n) => (Number.isFinite(up[n]) ? 0 - up[n] : Number.isFinite(down[n]) ? down[n] : FAR));
    assert.deepEqual(Array.from(found.distance), expected);
    outside += expected.filter((distance) => distance === FAR).length;
  }
  assert.ok(outside > 100, "the graphs are too dense to show what lies outside a cone");
});

test("the edges of a cone are the strong ones between its nodes on the way, strongest first", () => {
  for (const seed of SEEDS) {
    const circuit = randomCircuit(seed, 25, 0.12);
    const { source, target } = circuit.edges;
    const [start, least] = [seed % 25, 0.25];
    const [down, up] = [plainSteps(circuit, start, least, true), plainSteps(circuit, start, least, false)];
    const onTheWay = (edge) => Number.isFinite(down[source[edge]]) || Number.isFinite(up[target[edge]]);
    const expected = edgeNumbers(circuit).filter((edge) => sizeOf(circuit, edge) >= least && onTheWay(edge));
    const { edges } = cone(circuit, [start], least);
    assert.deepEqual(edges.toSorted((a, b) => a - b), expected);
    edges.slice(1).forEach((edge, n) => assert.ok(sizeOf(circuit, edge) <= sizeOf(circuit, edges[n])));
  }
});

test("the strongest edges are as many as asked for, none weaker than any left out", () => {
  for (const seed of SEEDS) {
    const circuit = randomCircuit(seed, 20, 0.3);
    const sorted = edgeNumbers(circuit).map((edge) => sizeOf(circuit, edge)).toSorted((a, b) => b - a);
    assert.deepEqual(strongest(circuit, 7, 0).map((edge) => sizeOf(circuit, edge)), sorted.slice(0, 7));
    assert.deepEqual(strongest(circuit, Infinity, 0.5).map((edge) => sizeOf(circuit, edge)), sorted.filter((size) => size >= 0.5));
  }
});

test("a node's edges are its own at that end, strongest first, from the least weight on", () => {
  const circuit = randomCircuit(5, 20, 0.4);
  for (const { index } of circuit.nodes) {
    for (const [side, end] of [["incoming", "target"], ["outgoing", "source"]]) {
      const expected = edgeNumbers(circuit).filter((edge) => circuit.edges[end][edge] === index && sizeOf(circuit, edge) >= 0.25);
      const found = edgesAt(circuit, side, index, 0.25);
      assert.deepEqual(found.toSorted((a, b) => a - b), expected);
      found.slice(1).forEach((edge, n) => assert.ok(sizeOf(circuit, edge) <= sizeOf(circuit, found[n])));
    }
  }
});

test("collapsing adds weights between the same two nodes and loses only edges inside a group", () => {
  for (const seed of SEEDS) {
    const circuit = randomCircuit(seed, 20, 0.3);
    const home = (n) => GROUPS.find(({ members }) => members.includes(n))?.name ?? `node ${n}`;
    const expected = new Map();
    circuit.edges.weight.forEach((weight, edge) => {
      const ends = [home(circuit.edges.source[edge]), home(circuit.edges.target[edge])];
      if (ends[0] !== ends[1]) expected.set(ends.join(" > "), (expected.get(ends.join(" > ")) ?? 0) + weight);
    });
    const { nodes, edges } = collapse(circuit, GROUPS);
    const called = (n) => (nodes[n].kind === "supernode" ? nodes[n].short : nodes[n].name);
    const found = new Map();
    edges.weight.forEach((weight, edge) => {
      const key = `${called(edges.source[edge])} > ${called(edges.target[edge])}`;
      assert.ok(!found.has(key), `${key} twice`);
      found.set(key, weight);
    });
    assert.deepEqual([...found].toSorted(), [...expected].toSorted());
  }
});

test("a supernode has the sum of its members' effects, and only by methods that all of them have", () => {
  for (const seed of SEEDS) {
    const circuit = randomCircuit(seed, 20, 0.3);
    const { nodes } = collapse(circuit, GROUPS);
    assert.deepEqual(nodes.map((node) => node.index), nodes.map((_, n) => n));
    assert.equal(nodes.length, 20 - 6 + 2);
    GROUPS.forEach(({ members }, n) => {
      const own = members.map((member) => circuit.nodes[member].effects);
      assert.equal(nodes[n].effects.effect, own.reduce((sum, effects) => sum + effects.effect, 0));
      assert.equal("ig" in nodes[n].effects, own.every((effects) => "ig" in effects));
    });
  }
});

test("without groups nothing is changed", () => {
  const circuit = randomCircuit(1, 10, 0.5);
  assert.equal(collapse(circuit, []), circuit);
});

test("a joined edge has no standard error or count of its own, a lone one keeps them", () => {
  const circuit = randomCircuit(2, 20, 0.5);
  const { nodes, edges } = collapse(circuit, GROUPS);
  let [joined, lone] = [0, 0];
  edges.weight.forEach((_, edge) => {
    const grouped = nodes[edges.source[edge]].members || nodes[edges.target[edge]].members;
    if (Number.isNaN(edges.error[edge])) {
      joined++;
      assert.ok(grouped && edges.count[edge] === 0);
    } else {
      lone++;
      assert.deepEqual([edges.error[edge], edges.count[edge]], [0.5, 3]);
    }
  });
  assert.ok(joined > 0 && lone > 0);
});
