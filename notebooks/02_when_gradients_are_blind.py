# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # When gradients are blind
#
# Does integrated gradients handle the jump of a JumpReLU encoder? It cannot: it takes derivatives, and a jump has none.
# This notebook shows it on one gate, on a trained model, and on one node; then what sees the jump (chord IG, exact
# patching), and where plain IG is fine. Every number below is computed when the cell runs, on the model that ships with
# the project. It takes about two minutes on one core.

# %%
import json
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch

from attribution import (
    SplicedModel,
    chord_attribution,
    gauss_legendre,
    midpoint,
    own_paths,
    with_crossings,
    with_details,
)
from circuits import (
    attribution_patching,
    check,
    exact_patching,
    explain_node,
    input_path_integrated_gradients,
    load_model,
    load_saes,
    logit_difference,
    prompt_pairs,
    splice,
)
from graphs import FeatureNode, path_trace, residual_by_points

torch.set_num_threads(1)

# %% [markdown]
# ## 1. One gate
#
# Two encoders with the same slope wherever they have one: a ReLU, and a JumpReLU with threshold 1. The metric is the
# feature itself, its input goes from 0.5 to 2. IG averages the derivative over the path. Both derivatives are 0 below
# the bend and 1 above it (the ReLU's bend is put at 1 too), so IG gives both the same number, at any number of points.
# Patching does not.

# %%
encoders = {
    "ReLU(z - 1)": lambda z: torch.relu(z - 1),
    "JumpReLU, threshold 1": lambda z: torch.where(z > 1, z, torch.zeros_like(z)),
}
clean, patch = 0.5, 2.0
for name, encode in encoders.items():
    truth = float(encode(torch.tensor(patch)) - encode(torch.tensor(clean)))
    print(f"{name:22} patching says {truth:.3f};  IG says", end="")
    for count in (6, 60, 600, 6000):
        alpha = torch.tensor(midpoint(count).points, dtype=torch.float64)
        z = (clean + (patch - clean) * alpha).requires_grad_()
        (slope,) = torch.autograd.grad(encode(z).sum(), z)
        print(f"  {float(slope.mean() * (patch - clean)):.3f} ({count} points)", end="")
    print()

# %% [markdown]
# ## 2. A trained model
#
# The embedded model, a JumpReLU SAE at every attention output, MLP output and residual stream, two pairs of the
# agreement task. Both methods claim that their parts add up to the total effect. The line is the share of it that
# they miss.

# %%
model = load_model()
spliced = splice(model, load_saes("jumprelu"))
pairs = prompt_pairs("agreement", model, split="train", examples=2)
estimate = attribution_patching(spliced, pairs, logit_difference, error_mode="frozen")
exact = exact_patching(spliced, pairs, logit_difference, error_mode="frozen")
verdict = check(spliced, pairs, logit_difference, estimate, exact=exact, explained=6)
verdict = with_details(verdict, spliced, pairs, logit_difference, estimate)
print(verdict.sentence)
residual_by_points(verdict)


# %% [markdown]
# More points do not help IG: it converges, to the wrong number. Chord IG converges to the right one. The control: ReLU
# SAEs at the residual stream, which bend but do not jump, and live mode, where no gate is met.


# %%
def missed(effects):
    return float(np.median(np.abs(effects.residual / effects.total_effect)))


resid_post = {k: {s: e for s, e in load_saes(k).items() if s.endswith("resid_post")} for k in ("relu", "jumprelu")}
for kind, saes in resid_post.items():
    world = SplicedModel(model, saes)
    for mode in ("path", "live"):
        arguments = {"error_mode": mode}
        ig = [
            missed(input_path_integrated_gradients(world, pairs, logit_difference, **arguments, points=midpoint(q)))
            for q in (5, 50, 200)
        ]
        chord = chord_attribution(world, pairs, logit_difference, **arguments, points=gauss_legendre(10))
        shares = ", ".join(f"{share:.2%} ({count} points)" for share, count in zip(ig, (5, 50, 200), strict=True))
        print(f"{kind:9} {mode:5} IG misses {shares}; chord IG {missed(chord.effects):.4%} (10 points)")

# %% [markdown]
# ## 3. The jumps, one by one
#
# The ledger lists every gate that differs between the two runs, with what its flip contributes, and where on the real
# path from clean to patch prompt it crosses its threshold. Contributions of gates in series overlap: what flows through
# one gate flows through the next.

# %%
chords = chord_attribution(spliced, pairs, logit_difference, rtol=1e-3, split=True)
print(f"{len(chords.ledger)} gates flip in {len(pairs)} pairs; converged: {chords.converged.tolist()}")
strongest = with_crossings(spliced, pairs, chords.ledger.strongest(8))
for n in range(len(strongest)):
    gate = f"{strongest.sites[strongest.site[n]]}/{strongest.index[n]} at position {strongest.position[n]}"
    turn = "opens" if strongest.opened[n] else "closes"
    where = ", ".join(f"{alpha:.3f}" for alpha in strongest.crossings[n])
    size = f"J = {strongest.contribution[n]:+.3f} ({strongest.share[n]:.0%} of the total)"
    print(f"example {strongest.example[n]}  {gate:42} {turn:6} {size}  at α = {where}")
jump, smooth = np.abs(chords.jump).sum(), np.abs(chords.smooth).sum()
print(f"{jump / (jump + smooth):.0%} of all attribution flows through gates that flip")

# %% [markdown]
# ## 4. One node's own path
#
# The node with the largest error, walked from its clean to its patch value with everything downstream free to move. The
# slope is what AtP and IG see. The metric also jumps where gates flip, and no slope shows that.

# %%
path_trace(verdict, 0)

# %%
paths = own_paths(spliced, pairs, logit_difference, exact.subset(np.abs(exact.effect) > 2.5), error_mode="frozen")
print("   exact    smooth     jumps  residual  flips")
for path in sorted(paths.values(), key=lambda p: -abs(p.exact))[:8]:
    flips = sum(len(jump.flips) for jump in path.jumps)
    print(f"{path.exact:+8.4f}  {path.smooth:+8.4f}  {path.jump:+8.4f}  {path.residual:+.0e}  {flips:5}")

# %% [markdown]
# ## 5. Why does a feature matter?
#
# `explain_node` takes the exact effect of one feature and follows it downstream: the same chords, drawn between the
# clean run and the run with that one feature patched. At every cut the flow adds up to the exact effect.

# %%
feature = np.flatnonzero(
    exact.of_kind("feature") & ~exact.at(spliced.sites[-1])
)  # the last site has nothing downstream
best = feature[np.abs(exact.effect[feature]).argmax()]
node = FeatureNode(exact.sites[exact.site[best]], int(exact.position[best]), int(exact.index[best]))
story = explain_node(spliced, pairs, logit_difference, node, example=int(exact.example[best]))
flow = story.effects
source = flow.effect[flow.site == exact.site[best]].sum() + story.ledger.undivided.sum()
print(f"{node}: exact effect {exact.effect[best]:+.4f}; its flow and the undivided jumps: {source:+.4f}")
print(f"{len(story.ledger)} gates flip downstream; the strongest nodes there:")
for n in np.argsort(-np.abs(flow.effect))[1:9]:
    what = f"{flow.sites[flow.site[n]]}/{'error' if flow.index[n] < 0 else flow.index[n]}"
    print(
        f"  {flow.effect[n]:+.4f}  {what} at position {flow.position[n]}  ({flow.clean[n]:.2f} → {flow.patch[n]:.2f})"
    )

# %% [markdown]
# ## 6. What chord IG is not
#
# A joint attribution shares out the total effect. It does not say what patching one node alone does: other nodes move
# along with it. Below, agreement with exact patching of single nodes, from `benchmarks/jumps.json` (medians over the
# four tasks; wrong signs among nodes of at least 1% of the total effect). Only exact patching answers that question;
# that is what the checker is for.

# %%
root = Path.cwd() if Path("benchmarks").is_dir() else Path.cwd().parent
rows = json.loads((root / "benchmarks" / "jumps.json").read_text())["rows"]
methods = ("AtP", "AtP*", "IG", "input-path IG", "chord IG")
figure = go.Figure()
labels = [f"{kind}<br>{mode}" for kind, mode in dict.fromkeys((r["encoder"], r["mode"]) for r in rows)]
for method in methods:
    values = []
    for kind, mode in dict.fromkeys((r["encoder"], r["mode"]) for r in rows):
        found = [r["agreement"][method]["pearson"] for r in rows if (r["encoder"], r["mode"]) == (kind, mode)]
        values.append(float(np.median(found)))
    figure.add_bar(name=method, x=labels, y=values)
figure.update_layout(
    template=residual_by_points(verdict).layout.template,  # drawn like the other figures
    barmode="group",
    height=420,
    width=1100,
    title="No estimate agrees with patching once gates are met (frozen, zero)",
    yaxis_title="Pearson correlation with exact effects",
)
figure
