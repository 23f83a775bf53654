/** The places of nodes: a row of cells for each band, tokens at the bottom, and a column for each position of the text. */

const WIDEST_SPACING = 24;
const ROW_PADDING = 0.7;
const CELL_PADDING = 14;
const NARROWEST_COLUMN = 22;
const WIDEST_EMPTY = 74;
const WIDEST_LABEL = 120;
const LARGEST_RADIUS = 11;
const SMALLEST_RADIUS = 2.8;

/**
 * Places for all nodes in a plot of the given size; the layout is larger than the plot if nodes would touch otherwise.
 * @param sizeOf the |effect| that sets a node's size
 * @param labelWidths the width that each position's label needs, in pixels
 * @returns {{x, y, radius, columns: {left, right}[], bands: {top, bottom}[], width, height}}
 */
export function layOut(circuit, { width, height }, sizeOf, labelWidths) {
  const cells = cellsOf(circuit, sizeOf);
  const counts = mostInColumn(cells, labelWidths.length);
  const wanted = labelWidths.map((label, c) => Math.max(NARROWEST_COLUMN, Math.min(label, counts[c] ? WIDEST_LABEL : WIDEST_EMPTY)));
  const grid = bestGrid(cells, counts, wanted, circuit.bands.length, width, height);
  const columns = columnsOf(grid, counts, wanted, width);
  const bands = rowsOf(grid, circuit.bands.length);
  const found = placed(cells, columns, bands, grid, circuit.nodes.length);
  const largest = largestOf(circuit.nodes, sizeOf);
  const most = Math.max(SMALLEST_RADIUS + 2.5, Math.min(LARGEST_RADIUS, 0.52 * Math.min(grid.spacing, grid.row)));
  const radius = Float32Array.from(circuit.nodes, (node) =>
    node.kind === "metric" ? most : SMALLEST_RADIUS + (most - SMALLEST_RADIUS) * Math.min(1, Math.sqrt(sizeOf(node) / largest)),
  );
  return { ...found, radius, columns, bands, width: columns.at(-1).right, height: bands[0].bottom };
}

/** Whether labels of these widths leave room to place the nodes in few rows; if not, labels are better turned. */
export function labelsFit(circuit, width, labelWidths) {
  const counts = mostInColumn(cellsOf(circuit, () => 0), labelWidths.length);
  const room = (label, c) => (counts[c] ? Math.max(Math.min(label, WIDEST_LABEL), Math.min(counts[c], 9) * 20) : Math.min(label, WIDEST_EMPTY));
  return labelWidths.reduce((sum, label, c) => sum + room(label, c), 0) <= width;
}

/** The largest feature or error, to which sizes are relative; tokens may exceed it, since everything follows from them. */
function largestOf(nodes, sizeOf) {
  const inner = nodes.filter((node) => node.kind !== "metric" && node.kind !== "token");
  return Math.max(...(inner.length ? inner : nodes).map(sizeOf), 1e-30);
}

/** Nodes of each cell by band and column, the largest first. */
function cellsOf(circuit, sizeOf) {
  const cells = new Map();
  for (const node of circuit.nodes) {
    const key = `${node.band} ${node.position}`;
    if (!cells.has(key)) cells.set(key, { band: node.band, column: node.position, nodes: [] });
    cells.get(key).nodes.push(node);
  }
  for (const cell of cells.values()) cell.nodes.sort((a, b) => sizeOf(b) - sizeOf(a) || a.index - b.index);
  return [...cells.values()];
}

function mostInColumn(cells, columns) {
  const most = Array.from({ length: columns }, () => 0);
  for (const { column, nodes } of cells) most[column] = Math.max(most[column], nodes.length);
  return most;
}

/** The number of nodes side by side that keeps the closest two as far apart as the plot allows. */
function bestGrid(cells, counts, wanted, bands, width, height) {
  let best = null;
  for (let most = 1; most <= Math.max(1, ...counts); most++) {
    const slots = counts.map((count) => Math.min(count, most));
    const spacing = spacingIn(width, slots, wanted);
    const rows = Array.from({ length: bands }, () => 1);
    for (const { band, column, nodes } of cells) {
      rows[band] = Math.max(rows[band], Math.ceil(nodes.length / slots[column]));
    }
    const row = Math.min(44, height / rows.reduce((sum, r) => sum + r + ROW_PADDING, 0));
    const quality = Math.min(spacing, row);
    if (!best || quality > best.quality) best = { most, slots, spacing, rows, row, quality };
  }
  best.spacing = Math.max(best.spacing, 2 * SMALLEST_RADIUS + 2);
  best.row = Math.max(best.row, 2 * SMALLEST_RADIUS + 4);
  return best;
}

/** The largest spacing at which all columns fit, by bisection; no column is narrower than wanted. */
function spacingIn(width, slots, wanted) {
  const needs = (spacing) => slots.reduce((sum, n, c) => sum + Math.max(wanted[c], n * spacing + CELL_PADDING), 0);
  if (needs(WIDEST_SPACING) <= width) return WIDEST_SPACING;
  let [low, high] = [0, WIDEST_SPACING];
  for (let step = 0; step < 12; step++) {
    const middle = (low + high) / 2;
    if (needs(middle) <= width) low = middle;
    else high = middle;
  }
  return low;
}

function columnsOf(grid, counts, wanted, width) {
  const natural = grid.slots.map((n, c) => Math.max(wanted[c], n * grid.spacing + CELL_PADDING));
  const spare = Math.max(0, width - natural.reduce((sum, w) => sum + w, 0));
  const shares = grid.slots.map((n) => n + 0.5);
  const all = shares.reduce((sum, share) => sum + share, 0);
  let left = 0;
  return natural.map((own, c) => {
    const column = { left, right: left + own + (spare * shares[c]) / all };
    left = column.right;
    return column;
  });
}

/** Bands from the metric at the top down to the tokens; the first entry is that of the tokens. */
function rowsOf(grid, count) {
  const bands = Array.from({ length: count });
  let top = 0;
  for (let band = count - 1; band >= 0; band--) {
    bands[band] = { top, bottom: top + (grid.rows[band] + ROW_PADDING) * grid.row };
    top = bands[band].bottom;
  }
  return bands;
}

function placed(cells, columns, bands, grid, count) {
  const [x, y] = [new Float32Array(count), new Float32Array(count)];
  for (const { band, column, nodes } of cells) {
    const { left, right } = columns[column];
    const most = grid.slots[column];
    const rows = Math.ceil(nodes.length / most);
    const spacing = Math.min((right - left - CELL_PADDING) / most, 1.4 * WIDEST_SPACING);
    nodes.forEach((node, n) => {
      const row = Math.floor(n / most);
      const inRow = Math.min(most, nodes.length - row * most);
      x[node.index] = (left + right) / 2 + spacing * fromTheMiddle(n - row * most, inRow);
      y[node.index] = (bands[band].top + bands[band].bottom) / 2 + grid.row * ((rows - 1) / 2 - row);
    });
  }
  return { x, y };
}

/** Slot 0 in the middle, then alternating right and left, as an offset in slots. */
function fromTheMiddle(slot, inRow) {
  const side = Math.ceil(slot / 2) * (slot % 2 ? 1 : -1);
  return side - (inRow % 2 ? 0 : 0.5);
}
