/** Save this page, with its present state, as a new file. */

/** The page's text as it was loaded, with another state; nothing else changes. */
export function pageWith(pristine, state) {
  const json = JSON.stringify(state).replaceAll("<", "\\u003c");
  const block = /(<script type="application\/json" id="state">)[^<]*(<\/script>)/;
  if (!block.test(pristine)) throw new Error("The page has no place for its state.");
  return pristine.replace(block, (_, start, end) => `${start}${json}${end}`);
}

export function download(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/html" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A file name from a title. */
export function fileName(title) {
  const plain = title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 80);
  return `${plain || "circuit"}.html`;
}
