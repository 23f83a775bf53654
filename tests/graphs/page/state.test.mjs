/** The state in the address: what goes in comes out, whatever names hold; what the circuit lacks is left out. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULTS, fitted, FLAGS, fromFragment, TABS, toFragment } from "../../../graphs/page/script/state.js";
import { randomNumbers } from "./random_circuits.mjs";

const HOSTILE = ["|", "\\", "\\|", "|\\", "&", "=", "#", "%25", "+", " ", "<script>", "\n", "\0", "\u202e", "日本", "🧭", "é", "a|b\\", "__proto__", "constructor"];

function randomState(seed) {
  const random = randomNumbers(seed);
  const one = (list) => list[Math.floor(random() * list.length)];
  const name = () => Array.from({ length: 1 + Math.floor(3 * random()) }, () => one(HOSTILE)).join("");
  const some = (make, most) => Array.from({ length: Math.floor(random() * (most + 1)) }, make);
  return {
    node: one([null, name()]),
    pins: some(name, 3),
    groups: some(() => ({ name: name(), members: [name(), ...some(name, 3)] }), 2),
    labels: Object.fromEntries(some(() => [name(), one(["", name()])], 3)),
    size: one(["effect", name()]),
    against: one([null, "", name()]),
    least: one([0, 1e-9, 0.1 + 0.2, 3]),
    all: random() < 0.5,
    flag: one(["", "any", ...FLAGS]),
    query: one(["", name()]),
    tab: one(TABS),
  };
}

test("a state comes back from its fragment as it was, whatever its names hold", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const state = randomState(seed);
    const fragment = toFragment(state);
    assert.deepEqual(fromFragment(`#${fragment}`), state, fragment);
    assert.equal(new URL(`file:///page.html#${fragment}`).hash.slice(1), fragment, "the address changes the fragment");
  }
});

test("the defaults need no fragment, and an empty one gives the state to start from", () => {
  assert.equal(toFragment(DEFAULTS), "");
  const base = { ...DEFAULTS, query: "kept" };
  assert.deepEqual(fromFragment("", base), base);
  assert.deepEqual(fromFragment("#", base), base);
  assert.equal(fromFragment("#node=a", base).query, "", "a fragment says the whole state");
});

const CIRCUIT = { nodes: ["a", "b", "c"].map((name) => ({ name })), header: { methods: [{ key: "effect" }, { key: "ig" }] } };
const fit = (part) => fitted({ ...DEFAULTS, ...part }, CIRCUIT);

test("what the circuit does not have is left out of the state", () => {
  assert.equal(fit({ node: "x" }).node, null);
  assert.equal(fit({ node: "a" }).node, "a");
  assert.deepEqual(fit({ pins: ["a", "x", "a", "b"] }).pins, ["a", "b"]);
  assert.deepEqual([fit({ size: "ig" }).size, fit({ size: "x" }).size], ["ig", "effect"]);
  assert.deepEqual(["ig", "", "effect", "x"].map((against) => fit({ against }).against), ["ig", "", null, null]);
  assert.deepEqual([NaN, -1, "x", 2].map((least) => fit({ least }).least), [0, 0, 0, 2]);
  assert.deepEqual([fit({ flag: "x" }).flag, fit({ tab: "x" }).tab, fit({ query: 3 }).query, fit({ all: "yes" }).all], ["", "certificate", "", false]);
  assert.deepEqual(fit({ labels: { "site/1": "kept", other: 3 } }).labels, { "site/1": "kept" });
});

test("a group has two or more nodes, each in one group only; its members cannot be selected or pinned", () => {
  const groups = [{ name: "g", members: ["a", "b", "x"] }, { name: "h", members: ["b", "c"] }, { name: "g", members: ["c", "b"] }];
  const found = fit({ groups, node: "a", pins: ["a", "c", "group/g", "group/h"] });
  assert.deepEqual(found.groups, [{ name: "g", members: ["a", "b"] }]);
  assert.equal(found.node, null);
  assert.deepEqual(found.pins, ["c", "group/g"]);
});

test("a malformed fragment gives a state that fits", () => {
  for (const fragment of ["#group=", "#group=|", "#label=x", "#label=a|b|c", "#least=many", "#all=1", "#%E0%A4%A", "#node", "#=&&=", "#group=\\"]) {
    const state = fitted(fromFragment(fragment), CIRCUIT);
    assert.deepEqual({ ...state, labels: {} }, { ...DEFAULTS, labels: {} }, fragment);
  }
});
