/** Where nodes stand: in their band and column, apart from each other, whatever their number. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { layOut } from "../../../graphs/page/script/layout.js";
import { randomNumbers } from "./random_circuits.mjs";

const sizeOf = (node) => Math.abs(node.effects.effect);

/** `counts[band][position]` nodes in each cell. */
function circuitOf(counts, seed = 1) {
  const random = randomNumbers(seed);
  const nodes = counts.flatMap((row, band) =>
    row.flatMap((count, position) => Array.from({ length: count }, () => ({ kind: "feature", band, position, effects: { effect: random() - 0.5 } }))),
  );
  nodes.forEach((node, index) => (node.index = index));
  return { nodes, bands: counts.map(() => ({})) };
}

function randomCounts(seed, bands, positions, most) {
  const random = randomNumbers(seed);
  return Array.from({ length: bands }, () => Array.from({ length: positions }, () => Math.max(0, Math.floor(random() * (most + 3)) - 2)));
}

const CASES = [
  { name: "no node", counts: [[0, 0], [0, 0]] },
  { name: "one node", counts: [[0, 0], [1, 0]] },
  { name: "one crowded cell", counts: [[0, 400, 0]] },
  { name: "empty columns between", counts: [[1, 0, 0, 5], [0, 0, 0, 40], [1, 0, 0, 2]] },
  ...[3, 12, 60].map((most, n) => ({ name: `up to ${most} in a cell`, counts: randomCounts(n + 7, 9, 6, most) })),
  { name: "26 layers, 20 positions", counts: randomCounts(5, 28, 20, 6) },
];
const PLOTS = [{ width: 900, height: 620 }, { width: 300, height: 180 }];

for (const { name, counts } of CASES) {
  for (const plot of PLOTS) {
    const circuit = circuitOf(counts);
    const found = layOut(circuit, plot, sizeOf, counts[0].map(() => 60));
    const where = `${name}, ${plot.width} wide`;

    test(`every node lies in its band and column: ${where}`, () => {
      for (const { index, band, position } of circuit.nodes) {
        const [{ left, right }, { top, bottom }] = [found.columns[position], found.bands[band]];
        assert.ok(left < found.x[index] && found.x[index] < right, `node ${index}: x ${found.x[index]} in ${left} to ${right}`);
        assert.ok(top < found.y[index] && found.y[index] < bottom, `node ${index}: y ${found.y[index]} in ${top} to ${bottom}`);
      }
    });

    test(`no node of a cell covers the middle of another, and where there is room none touches: ${where}`, () => {
      const roomy = circuit.nodes.length <= 60 && plot.width > 500;
      circuit.nodes.forEach((a, n) => {
        for (const b of circuit.nodes.slice(n + 1)) {
          if (a.band !== b.band || a.position !== b.position) continue;
          const apart = Math.hypot(found.x[a.index] - found.x[b.index], found.y[a.index] - found.y[b.index]);
          const radii = [found.radius[a.index], found.radius[b.index]];
          assert.ok(apart > (roomy ? 0.95 * (radii[0] + radii[1]) : Math.max(...radii)), `nodes ${a.index} and ${b.index} are ${apart} apart`);
        }
      });
    });

    test(`bands and columns follow each other without gap and fill the world: ${where}`, () => {
      found.columns.slice(1).forEach(({ left }, n) => assert.equal(left, found.columns[n].right));
      found.bands.slice(1).forEach(({ bottom }, n) => assert.equal(bottom, found.bands[n].top));
      assert.equal(found.columns[0].left, 0);
      assert.equal(found.bands.at(-1).top, 0);
      assert.ok(found.width >= plot.width - 1e-6);
    });
  }
}

test("a larger effect is never drawn smaller, and the strongest of a cell stands in its middle", () => {
  const circuit = circuitOf([[9, 0, 1]]);
  const { radius, x, columns } = layOut(circuit, PLOTS[0], sizeOf, [60, 60, 60]);
  const sorted = circuit.nodes.toSorted((a, b) => sizeOf(b) - sizeOf(a));
  sorted.slice(1).forEach((node, n) => assert.ok(radius[node.index] <= radius[sorted[n].index]));
  const inCell = sorted.filter((node) => node.position === 0);
  const fromMiddle = inCell.map(({ index }) => Math.abs(x[index] - (columns[0].left + columns[0].right) / 2));
  assert.equal(Math.min(...fromMiddle), fromMiddle[0]);
});
