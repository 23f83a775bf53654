/** Ticks of the small plots: round, inside, a handful. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ticks } from "../../../graphs/page/script/plots.js";
import { randomNumbers } from "./random_circuits.mjs";

test("ticks are multiples of one round step, all inside, none missing", () => {
  const random = randomNumbers(4);
  for (let n = 0; n < 500; n++) {
    const low = (random() - 0.5) * 10 ** (8 * random() - 4);
    const high = low + 10 ** (8 * random() - 4);
    const found = ticks(low, high);
    const span = high - low;
    assert.ok(found.length >= 1 && found.length <= 6, `${found.length} ticks from ${low} to ${high}`);
    found.forEach((tick) => assert.ok(tick >= low - 1e-6 * span && tick <= high + 1e-6 * span));
    if (found.length < 2) continue;
    const step = found[1] - found[0];
    const digit = step / 10 ** Math.floor(Math.log10(step) + 1e-9);
    assert.ok([1, 2, 5, 10].some((round) => Math.abs(digit - round) < 1e-6), `step ${step}`);
    assert.ok(found[0] - step < low && found.at(-1) + step > high, "a tick is missing at an end");
  }
});

test("ticks of an interval around zero have zero, and an empty interval has at most one tick", () => {
  assert.ok(ticks(-0.3, 1.7).includes(0));
  assert.ok(ticks(2, 2).length <= 1);
});
