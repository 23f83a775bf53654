/** Notes what the page draws: each node's shape, each curve, each text of the last frame, in `window.drawn`. */

function before(proto, name, note) {
  const own = proto[name];
  proto[name] = function noted(...given) {
    note(this, given);
    return own.apply(this, given);
  };
}

function clearDrawn() {
  window.drawn = { nodes: [], rings: [], curves: 0, texts: [] };
}

(() => {
  const canvas = CanvasRenderingContext2D.prototype;
  const curves = new WeakMap();
  let shape = [];
  clearDrawn();
  before(Path2D.prototype, "bezierCurveTo", (path) => curves.set(path, (curves.get(path) ?? 0) + 1));
  before(canvas, "beginPath", () => (shape = []));
  for (const name of ["arc", "rect", "roundRect", "moveTo", "lineTo"]) {
    before(canvas, name, (_, given) => shape.push([name, ...given]));
  }
  before(canvas, "fillRect", (context, [x, y, width]) => {
    if (x === 0 && y === 0 && width > 100) clearDrawn();
  });
  before(canvas, "fill", (context) => window.drawn.nodes.push({ shape, fill: context.fillStyle, alpha: context.globalAlpha }));
  before(canvas, "stroke", (context, [path]) => {
    if (path) window.drawn.curves += curves.get(path) ?? 0;
    else if (shape[0]?.[0] === "arc" && context.lineWidth !== 1) {
      window.drawn.rings.push({ shape, stroke: context.strokeStyle, width: context.lineWidth });
    }
  });
  before(canvas, "fillText", (_, [text]) => window.drawn.texts.push(text));
})();
