/** Build elements from tags, attributes and children. Text becomes text nodes, so that data is never parsed as HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** `el("p", {class: "faint"}, "text", otherElement)`; an attribute that starts with "on" is a listener, null is left out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A number with its sign and about three significant digits. */
export function signed(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? size.toExponential(digits - 1) : plainNumber(size, digits);
  return (value < 0 ? "−" : "+") + text;
}

export function plainNumber(value, digits = 3) {
  const size = Math.abs(value);
  const after = size === 0 ? 0 : Math.max(0, digits - 1 - Math.max(-2, Math.floor(Math.log10(size))));
  return value.toFixed(Math.min(after, 6));
}
