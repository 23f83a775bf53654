/** Saved pages: the same text with another state, which cannot end its element. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileName, pageWith } from "../../../graphs/page/script/save.js";

const HEAD = "<!doctype html>\n<p>$& $1 $` before</p>";
const TAIL = '<script type="module">const state = "<b>";</script>after';
const page = (state) => `${HEAD}<script type="application/json" id="state">${state}</script>${TAIL}`;
const BLOCK = /id="state">([^<]*)<\/script>/;

const HOSTILE = ["</script><script>alert(1)</script>", "<!--", "$&", "$1$2", "$`", "$'", "\\u003c", "\u2028", "\0", '"', "\\", "🧭"];

for (const text of HOSTILE) {
  test(`everything but the state is kept, and the state comes back: ${JSON.stringify(text)}`, () => {
    const state = { query: text, labels: { [text]: text } };
    const saved = pageWith(page('{"query":"old"}'), state);
    const [, written] = saved.match(BLOCK);
    assert.equal(saved, page(written));
    assert.ok(!written.includes("<"));
    assert.deepEqual(JSON.parse(written), state);
    assert.equal(pageWith(saved, { query: "" }), page('{"query":""}'), "a saved page cannot be saved again");
  });
}

test("a page without a place for its state is an error", () => {
  assert.throws(() => pageWith("<p>nothing</p>", {}), /no place for its state/);
});

test("file names are made of letters, digits and dashes", () => {
  assert.equal(fileName("Agreement on embedded"), "agreement-on-embedded.html");
  assert.equal(fileName("../../etc/<b>"), "etc-b.html");
  assert.equal(fileName("日本"), "circuit.html");
  assert.ok(fileName("x".repeat(1000)).length < 100);
});
