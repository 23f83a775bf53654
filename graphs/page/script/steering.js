"use strict";
const drawn = JSON.parse(document.getElementById("figure").textContent);
const curve = document.getElementById("curve");
const scheme = matchMedia("(prefers-color-scheme: dark)");

function recolour() {
  const [text, line] = scheme.matches ? ["#ecece6", "#303138"] : ["#1c1c1a", "#e6e6df"];
  const colours = { "font.color": text };
  for (const axis of Object.keys(drawn.layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
    colours[`${axis}.gridcolor`] = line;
  }
  Plotly.relayout(curve, colours);
}

Plotly.newPlot(curve, drawn.data, drawn.layout, { displaylogo: false, displayModeBar: false, responsive: true });
scheme.addEventListener("change", recolour);
recolour();
