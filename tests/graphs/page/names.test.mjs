/** Names beside nodes: inside the plot, none on another. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { placeNames } from "../../../graphs/page/script/names.js";
import { randomNumbers } from "./random_circuits.mjs";

const PLOT = { left: 78, top: 8, width: 600, height: 400 };
const HEIGHT = 18;

function randomNames(seed, count, important = () => false) {
  const random = randomNumbers(seed);
  return Array.from({ length: count }, (_, n) => ({
    text: `name ${n}`,
    x: PLOT.left + 700 * random() - 50,
    y: PLOT.top + 480 * random() - 40,
    radius: 3 + 8 * random(),
    width: 20 + 180 * random(),
    important: important(n),
  }));
}

const inPlot = ({ x, y }) => x >= PLOT.left && x <= PLOT.left + PLOT.width && y >= PLOT.top && y <= PLOT.top + PLOT.height;

test("no name leaves the plot and none overlaps another", () => {
  let placed = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const found = placeNames(randomNames(seed, 40), PLOT);
    placed += found.length;
    found.forEach((a, n) => {
      assert.ok(a.x >= PLOT.left && a.x + a.width <= PLOT.left + PLOT.width, `${a.text} leaves at the side`);
      assert.ok(a.y - HEIGHT / 2 >= PLOT.top && a.y + HEIGHT / 2 <= PLOT.top + PLOT.height, `${a.text} leaves above or below`);
      for (const b of found.slice(n + 1)) {
        const apart = a.x + a.width <= b.x || b.x + b.width <= a.x || Math.abs(a.y - b.y) >= HEIGHT;
        assert.ok(apart, `${a.text} and ${b.text} overlap (seed ${seed})`);
      }
    });
  }
  assert.ok(placed > 400, `only ${placed} names found room`);
});

test("important names are all placed where their nodes are in sight", () => {
  const names = randomNames(3, 30, (n) => n < 10);
  const found = new Set(placeNames(names, PLOT).map((name) => name.text));
  for (const name of names.slice(0, 10)) assert.equal(found.has(name.text), inPlot(name), name.text);
});

test("a name that has no place but on a node to be kept is not written, on another node it is", () => {
  const name = { text: "one", x: 300, y: 200, radius: 6, width: 80, important: false };
  const wide = [{ place: [300, 200], radius: 6 }, { place: [301, 200], radius: 300 }];
  assert.deepEqual(placeNames([name], PLOT, wide.map((node) => ({ ...node, kept: true }))), []);
  assert.equal(placeNames([name], PLOT, wide).length, 1);
});

test("a name of a node out of sight is not written", () => {
  const far = { text: "far", x: PLOT.left - 5, y: 100, radius: 5, width: 50, important: true };
  assert.deepEqual(placeNames([far], PLOT), []);
});

test("a name goes where it covers no other node, if there is such a place", () => {
  const name = { text: "one", x: 300, y: 200, radius: 6, width: 80, important: false };
  const [alone] = placeNames([name], PLOT, [{ place: [300, 200], radius: 6 }]);
  assert.ok(alone.x > 300 && alone.y === 200, "a free place to the right is the first choice");
  const neighbour = { place: [340, 200], radius: 6 };
  const [moved] = placeNames([name], PLOT, [{ place: [300, 200], radius: 6 }, neighbour]);
  const covers = moved.x < 346 && moved.x + 80 > 334 && Math.abs(moved.y - 200) < 6 + HEIGHT / 2 - 1;
  assert.ok(!covers, `the name at ${moved.x}, ${moved.y} covers its neighbour`);
});
