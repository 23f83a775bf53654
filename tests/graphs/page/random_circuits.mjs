/** Seeded numbers, and small random circuits as graphs/page/script/circuit.js would make them. */

import { wireUp } from "../../../graphs/page/script/edges.js";

/** The same sequence of numbers in [0, 1) for a seed (mulberry32). */
export function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Nodes 0 .. count - 1; each pair i < j is an edge with the given probability. Weights are odd multiples of 1/64. */
export function randomCircuit(seed, count, probability, { bands = 4, positions = 3 } = {}) {
  const random = randomNumbers(seed);
  const nodes = Array.from({ length: count }, (_, index) => ({
    index,
    kind: "feature",
    name: `node ${index}`,
    short: `n${index}`,
    band: Math.floor(random() * bands),
    site: 0,
    position: Math.floor(random() * positions),
    effects: { effect: Math.round(128 * (random() - 0.5)) / 64, ...(random() < 0.7 ? { ig: Math.round(128 * random()) / 64 } : {}) },
  }));
  const found = [];
  for (let source = 0; source < count; source++) {
    for (let target = source + 1; target < count; target++) {
      if (random() < probability) found.push({ source, target, weight: (2 * Math.floor(64 * random()) - 63) / 64 });
    }
  }
  const edges = {
    source: Uint32Array.from(found, (edge) => edge.source),
    target: Uint32Array.from(found, (edge) => edge.target),
    weight: Float32Array.from(found, (edge) => edge.weight),
    error: Float32Array.from(found, () => 0.5),
    count: Uint32Array.from(found, () => 3),
    inclusion: Uint8Array.from(found, () => 100),
  };
  const header = { methods: [{ key: "effect" }, { key: "ig" }] };
  return { header, bands: Array.from({ length: bands }, () => ({})), ...wireUp(nodes, edges) };
}
