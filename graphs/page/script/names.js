/** Places names beside their nodes so that none overlaps another or leaves the plot. */

const HEIGHT = 18;
const GAP = 7;
const MOST_COVERED = 1.5;
const LARGE = 7;

/**
 * @param wanted [{text, x, y, radius, width, important}] in order of importance; x, y is the node
 * @param obstacles [{place: [x, y], radius, kept}] nodes that names should not cover, above all the kept ones
 * @returns the names that fit, with x, y of the middle of the text's left end; important ones are placed even if they
 *   overlap, others cover little more than one other node
 */
export function placeNames(wanted, { left, top, width, height }, obstacles = []) {
  const found = [];
  for (const name of wanted) {
    if (name.x < left || name.x > left + width || name.y < top || name.y > top + height) continue;
    const places = placesFor(name).map((place) => inside(place, name.width, left, top, width, height));
    const free = places.filter((place) => !found.some((other) => overlap(place, name.width, other)));
    if (!free.length && !name.important) continue;
    const costs = (free.length ? free : places).map((place, n) => ({ place, cost: covered(place, name, obstacles) + n / 100 }));
    const best = costs.reduce((a, b) => (b.cost < a.cost ? b : a));
    if (name.important || best.cost < MOST_COVERED) found.push({ ...name, ...best.place });
  }
  return found;
}

/** How many nodes a name would cover: small ones count less than one, its own and the kept ones count much more. */
function covered(place, { width, x, y }, obstacles) {
  let count = 0;
  for (const { place: [nx, ny], radius, kept } of obstacles) {
    const across = nx + radius > place.x - 3 && nx - radius < place.x + width + 3;
    if (!across || Math.abs(ny - place.y) >= radius + HEIGHT / 2 - 1) continue;
    count += kept || (nx === x && ny === y) ? 10 : Math.min(1, (radius / LARGE) ** 2);
  }
  return count;
}

/** Right of the node, left of it, above, below, and the corners. */
function placesFor({ x, y, radius, width }) {
  const side = radius + GAP;
  const up = radius + HEIGHT / 2 + 5;
  return [
    { x: x + side, y },
    { x: x - side - width, y },
    { x: x - width / 2, y: y - up },
    { x: x - width / 2, y: y + up },
    { x: x + side, y: y - up },
    { x: x + side, y: y + up },
    { x: x - side - width, y: y - up },
    { x: x - side - width, y: y + up },
  ];
}

function inside(place, textWidth, left, top, width, height) {
  return {
    x: Math.max(left + 4, Math.min(place.x, left + width - textWidth - 6)),
    y: Math.max(top + HEIGHT / 2, Math.min(place.y, top + height - HEIGHT / 2)),
  };
}

function overlap(place, width, other) {
  return (
    place.x < other.x + other.width + 8 && other.x < place.x + width + 8 && Math.abs(place.y - other.y) < HEIGHT + 1
  );
}
