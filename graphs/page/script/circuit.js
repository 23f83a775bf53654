/** The circuit as the page uses it: nodes as objects, edges as columns that are indexed by node. */

import { wireUp } from "./edges.js";
import { labelsFrom } from "./labels.js";

export const KINDS = ["feature", "error", "token", "metric"];

/** Nodes, edges and bands from the unpacked data. A band is a row of the grid: the tokens, a site, or the metric. */
export function circuitFrom({ header: packed, columns }) {
  const header = { ...packed, labels: labelsFrom(packed, columns["context token"]) };
  const nodes = Array.from(columns.kind, (_, n) => nodeFrom(n, header, columns));
  const source = sourcesOf(columns["edges leaving"]);
  const edges = {
    source,
    target: targetsOf(columns["edge step"], source),
    weight: columns["edge weight"],
    error: columns["edge error"],
    count: columns["edge count"],
    inclusion: columns["edge inclusion"],
    membership: columns["edge membership"] ?? null,
  };
  return { header, bands: bandsOf(header), ...wireUp(nodes, edges) };
}

function nodeFrom(n, header, columns) {
  const kind = KINDS[columns.kind[n]];
  const site = kind === "token" || kind === "metric" ? null : columns.site[n];
  const band = kind === "token" ? 0 : kind === "metric" ? header.sites.length + 1 : 1 + columns.site[n];
  const effects = { effect: columns.effect[n] };
  for (const { key } of header.methods.slice(1)) {
    const value = columns[`estimate ${key}`][n];
    if (!Number.isNaN(value)) effects[key] = value;
  }
  const node = { index: n, kind, site, band, position: columns.position[n], feature: columns.feature[n], effects };
  for (const name of ["mean_absolute", "standard_error", "clean", "patch", "carried", "undivided", "inclusion", "inclusion_templates", "closed_effect", "open_effect"]) {
    node[name] = Number.isNaN(columns[name][n]) ? null : columns[name][n];
  }
  node.count = columns.count[n];
  node.verified = columns.verified[n];
  node.undecided = columns.undecided[n];
  node.membership = columns.membership?.[n] ?? 0;
  node.flags = header.flags[n] ?? {};
  node.findings = header.findings[n] ?? [];
  node.members = null;
  node.wrong = Object.fromEntries(header.methods.map(({ key, flags }) => [key, flags?.[n] ?? null]));
  return Object.assign(node, namesOf(node, header));
}

/** What a position says in place of a token where its prompts differ (`VARIOUS` in graphs/nodes.py). */
export const VARIOUS = "various";

/** The number of nodes as the certificate and the tables count them: without the metric. */
export const counted = (nodes) => nodes.filter((node) => node.kind !== "metric").length;

function namesOf(node, header) {
  const position = header.positions[node.position];
  const at = position?.label ?? "";
  if (node.kind === "metric") {
    const name = header.metrics[node.index];
    return { name: `metric/${name}`, place: null, short: name };
  }
  if (node.kind === "token") return { name: `token@${at}`, place: null, short: tokenAt(position) };
  const site = header.sites[node.site];
  const what = node.kind === "feature" ? String(node.feature) : "error";
  const row = site.layer === null ? site.part : `L${site.layer} ${site.part}`;
  return {
    name: `${site.name}/${what}@${at}`,
    place: node.kind === "feature" ? `${site.name}/${what}` : null,
    short: `${row}/${what}`,
  };
}

const tokenAt = ({ clean_token }) => (clean_token === VARIOUS ? "various tokens" : `token “${clean_token.trim()}”`);

function sourcesOf(leaving) {
  const total = leaving.reduce((sum, count) => sum + count, 0);
  const source = new Uint32Array(total);
  let edge = 0;
  leaving.forEach((count, node) => {
    source.fill(node, edge, edge + count);
    edge += count;
  });
  return source;
}

/** A step is the difference of a target to the one before it, or to 0 for the first edge of a source. */
function targetsOf(step, source) {
  const target = Uint32Array.from(step);
  for (let edge = 1; edge < target.length; edge++) if (source[edge] === source[edge - 1]) target[edge] += target[edge - 1];
  return target;
}

function bandsOf(header) {
  const sites = header.sites.map((site) => ({ layer: site.layer, part: site.part }));
  return [{ layer: null, part: "tokens" }, ...sites, { layer: null, part: "metric" }];
}
