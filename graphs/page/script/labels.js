/** Labels with the tokens of their contexts, which are packed separately (graphs/page/label_columns.py). */

/** Labels by place; each context as {tokens, place, activation}. */
export function labelsFrom(header, numbers) {
  let next = 0;
  const contextFrom = ([length, place, activation]) => {
    const tokens = Array.from(numbers.subarray(next, next + length), (number) => header.tokens[number]);
    next += length;
    return { tokens, place, activation };
  };
  return Object.fromEntries(Object.entries(header.labels).map(([place, label]) => [place, { ...label, contexts: label.contexts.map(contextFrom) }]));
}
