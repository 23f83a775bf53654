/** Unpacking what graphs/page/pack_columns.py packed: the Python test writes both the text and what it holds. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { unpack } from "../../../graphs/page/script/data.js";

const { packed, header, columns } = JSON.parse(readFileSync(process.env.PACKED_COLUMNS, "utf-8"));

test("header and columns are those that were packed", async () => {
  const found = await unpack(`\n${packed}\n`);
  assert.deepEqual({ ...found.header, columns: undefined }, { ...header, columns: undefined });
  assert.deepEqual(Object.keys(found.columns), Object.keys(columns));
  for (const [name, { type, values }] of Object.entries(columns)) {
    const expected = values.map((value) => (value === null ? NaN : value));
    assert.deepEqual(Array.from(found.columns[name]), expected, name);
    assert.equal(found.columns[name].constructor.name.toLowerCase(), `${type}array`);
  }
});

test("a text that was cut short is an error, not other numbers", async () => {
  await assert.rejects(unpack(packed.slice(0, Math.floor(packed.length / 8) * 4)));
});
