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
# # A first circuit
#
# How does a small language model know that after "the doctors near the cake" comes *are* and not *is*? This notebook
# finds the circuit of SAE features that does it, reads its certificate, its features and its heads, tests it by
# knocking features out, and edits the model's text with them. The model and its SAEs ship with the project. Every
# number is computed when the cell runs, and what the text says is asserted beside it; all of it takes about two minutes
# on one thread.

# %%
import html
import itertools
import math
import re
from dataclasses import replace

import networkx as nx
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from attribution import counterfactual, direct_feature_attribution, position_names, prepare
from circuits import (
    KEEP_ONLY,
    Ablation,
    ablate,
    ablate_feature,
    causal_test,
    certificate_lines,
    chord_integrated_gradients,
    continue_prompt,
    discover,
    embedded_corpus,
    faithfulness_report,
    label,
    load_model,
    load_saes,
    logit_difference,
    prompt_pairs,
    rank_nodes,
    set_feature,
    side_effect,
    splice,
    split_pairs,
)
from graphs import circuit_figure

torch.set_num_threads(1)
console = Console(width=112, force_jupyter=False, color_system=None, markup=False)


def short(name):
    """`L3 mlp_out` for the site `blocks.3.hook_mlp_out`, also at the start of a node's name."""
    return re.sub(r"^blocks\.(\d+)\.hook_", r"L\1 ", name)


# %% [markdown]
# ## 1. A model, its SAEs, a task
#
# A transformer of 4 layers that has learned a made-up language of 592 words, and a JumpReLU SAE at every attention
# output, MLP output and residual stream: 12 sites. The task is agreement. A *pair* is a clean prompt and a patch prompt
# that differs in one thing, the number of the subject. The *metric* is the logit of the verb that is right after the
# clean prompt minus the logit of the one that is wrong there. Between subject and verb stands at least one other noun,
# whose number says nothing about the verb: the *distractor*.

# %%
model = load_model()
spliced = splice(model, load_saes("jumprelu"))
pairs = prompt_pairs("agreement", model, split="train", examples=24)
for pair in pairs.head(4):
    answer, foil = model.token_text(pair.answer_id), model.token_text(pair.foil_id)
    for kind, ids in (("clean", pair.clean_ids), ("patch", pair.patch_ids)):
        logits = model.logits(torch.tensor([ids]))[0, -1]
        verbs = f"{answer} {float(logits[pair.answer_id]):+.2f}, {foil} {float(logits[pair.foil_id]):+.2f}"
        print(f"{kind}: {model.tokenizer.decode(ids[1:]):45} {verbs}")

# %% [markdown]
# ## 2. Find the circuit, and read its certificate first
#
# `discover` patches every feature, every SAE error and every token that differs between the prompts, each by itself:
# set the node to what it is in the patch prompt, leave the rest, see how the metric moves. That is its *exact effect*.
# Which nodes belong to the circuit is another question, and the search asks it as the circuit will be judged: with
# everything outside at its patch value, what does each node that is left contribute? It drops what helps least, asks
# again, and so on. *F* is the share of the whole model's effect that the nodes left restore.
#
# Three sets of pairs take part, and no pair is in two of them. The training pairs find the circuit. Half of the
# held-out pairs, whose subjects are other nouns, choose its size: the smallest set with F ≥ 0.8 there. The other half,
# with nouns of their own, judges, and so do sentences of a structure that the model was not trained on. Chord flow
# joins the nodes by edges, and weak edges are pruned.

# %%
held_out = split_pairs(prompt_pairs("agreement", model, split="held_out", examples=32), validation=0.5, by_words=True)
choosing, judging = held_out.validation, held_out.train
splits = {
    "held_out": judging,
    "out_of_distribution": prompt_pairs("agreement", model, split="out_of_distribution", examples=16),
}
texts = {"general text": list(embedded_corpus(model, documents=32).pieces())}
found = discover(spliced, pairs, logit_difference, validation=choosing, splits=splits, texts=texts, explained=0)
circuit = found.circuit
measured = circuit.measurement
count = len(circuit.strongest())
print(f"{count} of {measured.nodes_measured} nodes, {measured.pruned} pruned; {len(circuit.edges)} edges")
marks = {"green": "●", "amber": "▲", "red": "■", "grey": "·"}
certificate = Table("", "", "", "", box=None, show_header=False, pad_edge=False)
for line in sorted(certificate_lines(circuit), key=lambda line: line.colour == "grey"):  # facts without a colour last
    certificate.add_row(marks[line.colour], line.name, line.value, line.reading)
for column in certificate.columns[:3]:
    column.no_wrap = True
console.print(certificate)
assert all(report.faithfulness > 0.75 and abs(report.completeness) < 0.1 for report in circuit.certificate.faithfulness)
assert all(abs(effect) < 0.2 for effect in circuit.certificate.size_choice.opponents.values())

# %% [markdown]
# ● trust it, ▲ mind it, ■ do not rely on it; every line follows a stated rule (`certificate_lines` gives it). The lines
# that matter most come first.
#
# - **Faithfulness**, on prompts that had no part in finding the circuit. F on its own prompts is close to 1, which says
#   little: they chose the nodes.
# - **Completeness**: without the circuit, the rest of the model does nothing of the task. There is no second way.
# - **Size**: how many nodes, which pairs chose that, and which F they saw.
# - **Stability**, amber: the search again on resampled pairs, a hundred times. Much of the circuit is in nearly all of
#   these circuits, and much is not; section 3 shows which nodes are which.
# - **Opponents left out**: the nodes outside that worked against the task most. Alone, each moves the metric by less
#   than 0.2: this task has no opponents to speak of.
# - **SAEs on the task's answers** may recover more than 100%: on these few words the model predicts a little better
#   from reconstructions. That is no reason for joy; it says that the words are few.
#
# ### What a ranking would have found
#
# The usual way is to rank nodes by an estimate of their effects and to keep the first ones. Here are the first nodes of
# the chord IG ranking, once few, once as many as the circuit has, and all.

# %%
ranking = rank_nodes(chord_integrated_gradients(spliced, pairs, logit_difference), pairs, model)
FEW = 120


def restored(nodes):
    """F of nodes on their own pairs, on the held-out and on the out-of-distribution pairs."""
    reports = faithfulness_report(spliced, {"own": pairs, **splits}, logit_difference, nodes)
    return [report.faithfulness for report in reports]


print(f"{'nodes':36}  own pairs   held out   out of distribution")
kept = {f"the first {n:,} of the ranking": ranking.top(n) for n in (FEW, count, len(ranking.nodes))}
kept[f"the {count} of the search"] = circuit
shares = [restored(nodes) for nodes in kept.values()]
for name, (own, held, other) in zip(kept, shares, strict=True):
    print(f"{name:36} {own:10.2f} {held:10.2f} {other:21.2f}")
few, as_many, everything, searched = shares
assert few[0] > 0.8 > 0.4 > few[1]
assert searched[1] > as_many[1] > few[1]
assert searched[1] > everything[1] - 0.05

# %% [markdown]
# A hundred-odd nodes do nearly all of the job on the prompts that chose them, and little of it on other nouns. Most of
# that is size: own prompts are a bad judge of how many nodes are enough. The rest is the choice of nodes: with as many
# nodes the search restores more. It restores no less than *all* nodes that our pairs switch; what is still missing is
# not to be had from these pairs. Which features make the difference?

# %%
elsewhere = rank_nodes(chord_integrated_gradients(spliced, judging, logit_difference), judging, model)


def place(node, positions):
    """A node's name, whatever grid it is on."""
    where = positions[node.position].label
    what = "token" if node.kind == "token" else f"{node.site}/{getattr(node, 'index', 'error')}"
    return f"{what}@{where}"


members = {circuit.name(w.node) for w in circuit.strongest()}
rank_of = {place(w.node, ranking.positions): n for n, w in enumerate(ranking.nodes, start=1)}
strongest = {place(w.node, elsewhere.positions): w for w in elsewhere.nodes if w.node.kind == "feature"}
strongest = dict(itertools.islice(strongest.items(), 100))
unranked = [name for name in strongest if rank_of.get(name, math.inf) > FEW]
unswitched = [name for name in strongest if name not in rank_of]
missing = [name for name in strongest if name not in members]
print(
    f"of the 100 strongest features of held-out pairs, {len(unranked)} are not among the ranking's first {FEW}; "
    f"{len(missing)} are not in the circuit, {len(set(missing) & set(unswitched))} of which none of our pairs switches"
)
shown = [name for name in unranked if name in members][:6] + missing[:4]
corpus = embedded_corpus(model, documents=300)
unseen = label(spliced, [(strongest[name].node.site, strongest[name].node.index) for name in shown], corpus)
print(f"{'':27} {'circuit':8} {'held out':>8} {'own':>6} {'rank':>5}")
for name, found_label in zip(shown, unseen, strict=True):
    own = f"{circuit.node(name).effect:+6.2f}" if name in members else f"{'':6}"
    numbers = f"{'yes' if name in members else 'no':8} {strongest[name].effect:+8.2f} {own} {rank_of.get(name, '–'):>5}"
    print(f"{short(name):27} {numbers}  {found_label.text[:60]}")
assert 2 * len(missing) < len(unranked)
assert 2 * len(set(missing) & set(unswitched)) > len(missing)

# %% [markdown]
# Divers, anchors, squirrels, tents: the held-out nouns. The model has features of its own for such words. On our pairs
# they hardly matter, and the ranking by effects has them far down. The search keeps many of them, since each restores a
# little once nearly everything else is gone. Most of what is missing still, no training pair switches at all.
#
# ## 3. Look at it
#
# First where it is. Each line is a site at a position: how many features and SAE errors the circuit has there, what
# their exact effects add up to, how much of the flow from the clean to the patch prompt they carry, and the features
# that carry most.

# %%
places = {}
for weighted in circuit.strongest():
    if weighted.node.kind != "token":
        where = short(weighted.node.site), circuit.positions[weighted.node.position].label
        places.setdefault(where, []).append(weighted)
print(f"{'site':14} {'position':9} {'features':>8} {'errors':>6} {'Σ exact':>8} {'flow':>7}  strongest in the flow")
flow = {}
for where in sorted(places):
    errors = sum(w.node.kind == "error" for w in places[where])
    flow[where] = sum(w.carried or 0.0 for w in places[where])
    alone = sum(w.effect for w in places[where])
    most = sorted((w for w in places[where] if w.node.kind == "feature"), key=lambda w: w.carried)[:4]
    names = ", ".join(str(w.node.index) for w in most) if flow[where] < -0.5 else ""
    numbers = f"{len(places[where]) - errors:8} {errors:6} {alone:8.2f} {flow[where]:7.2f}"
    print(f"{where[0]:14} {where[1]:9} {numbers}  {names}")
print(f"everything at its patch value: {measured.total_effect:.2f}")
way = [(f"L{layer} resid_post", "subject" if layer < 3 else "end") for layer in range(4)] + [("L3 attn_out", "end")]
assert all(abs(flow[where] / measured.total_effect - 1) < 0.1 for where in way)
off = [where for where in places if where[1] != ("end" if where[0].startswith("L3") else "subject")]
assert all(abs(flow[where]) < 0.5 for where in off)


def part(choose):
    """The circuit with only those of its nodes that are chosen."""
    return replace(circuit, nodes=tuple(w for w in circuit.nodes if choose(w)), edges=(), certificate=None)


# %% [markdown]
# The whole task is in two columns: at the subject up to layer 2, at `end`, the last word of the prompt, in layer 3.
# Each residual stream on the way carries all of the flow, and so does one attention output, that of layer 3. What the
# circuit has elsewhere is next to nothing.
#
# Four hundred nodes are many. How many of them are the story? Keep only those with a large exact effect:

# %%
print(f"{'nodes with':22} {'nodes':>5}  {'stable':>6}   own pairs   held out   out of distribution")


def show(name, chosen):
    """F of some nodes of the circuit on all splits; stable: in at least 90 of 100 circuits of resampled pairs."""
    stable = np.mean([w.inclusion >= 0.9 for w in chosen.strongest()])
    own, held, other = restored(chosen)
    print(f"{name:22} {len(chosen.strongest()):5}  {stable:6.0%}  {own:10.2f} {held:10.2f} {other:21.2f}")
    return own, held, stable


tail = {
    least: show(f"|effect| ≥ {least}", part(lambda w, least=least: abs(w.effect) >= least))
    for least in (0.3, 0.1, 0.01, 0.0)
}
without_errors = show("all but the errors", part(lambda w: w.node.kind != "error"))
assert tail[0.3][0] < 0.2
assert tail[0.01][0] - tail[0.01][1] > 0.2
assert without_errors[1] < tail[0.0][1]
assert tail[0.1][2] > 0.95 > 0.8 > tail[0.0][2]

# %% [markdown]
# A head and a long tail. The few dozen strong nodes are what a page shows first and what the rest of this notebook
# reads. By themselves they restore next to nothing: a site passes on little when only few of its features move. With
# the nodes down to an effect of 0.01 the training pairs are done. The weaker half is what carries over to other nouns:
# features of single words, and the SAEs' errors, which hold what the features do not say about a word. It is also the
# half that other pairs would have chosen differently: strong nodes are in nearly all circuits of resampled pairs.
#
# Now a picture of the head: the nodes on the strongest paths from the subject's token to the metric. Numbers are
# features, size is the exact effect, lines are chord flow.


# %%
def widest_path(flow, source, target):
    """The path whose weakest edge is strongest, and that edge's size."""
    best = {source: (math.inf, None)}
    for node in nx.topological_sort(flow):
        for after in flow.successors(node) if node in best else ():
            width = min(best[node][0], abs(flow[node][after]["weight"]))
            if width > best.get(after, (0.0, None))[0]:
                best[after] = (width, node)
    path = [target]
    while path[-1] != source:
        path.append(best[path[-1]][1])
    return path[::-1], best[target][0]


def strongest_paths(circuit, count):
    """Take the widest path out of the flow, then the widest of what is left, and so on."""
    flow, metric = circuit.to_networkx(), next(circuit.name(w.node) for w in circuit.nodes if w.node.kind == "metric")
    paths = []
    for _ in range(count):
        path, width = widest_path(flow, "token@subject", metric)
        paths.append((path, width))
        for source, target in itertools.pairwise(path):
            weight = flow[source][target]["weight"]
            flow[source][target]["weight"] = weight - math.copysign(width, weight)
    return paths


def cut_to(circuit, names):
    """Some nodes of the circuit and the edges between them, on the sites and positions that they stand at."""
    nodes = [w for w in circuit.nodes if w.node.kind == "metric" or circuit.name(w.node) in names]
    used = sorted({w.node.position for w in nodes if w.node.kind != "metric"})
    sites = {w.node.site for w in nodes if w.node.kind in ("feature", "error")}
    moved = {
        w.node: w.node if w.node.kind == "metric" else replace(w.node, position=used.index(w.node.position))
        for w in nodes
    }
    return replace(
        circuit,
        sites=tuple(site for site in circuit.sites if site in sites),
        positions=tuple(circuit.positions[p] for p in used),
        nodes=tuple(replace(w, node=moved[w.node]) for w in nodes),
        edges=tuple(
            replace(e, source=moved[e.source], target=moved[e.target])
            for e in circuit.edges
            if e.source in moved and e.target in moved
        ),
    )


def named(figure, shown):
    """Features' numbers under their marks; beside every row what its two strongest fire on, or promote."""
    (drawn,), width, rows = figure.select_traces({"name": "features"}), figure.layout.xaxis.range[1], {}
    nodes = [w.node for w in shown.strongest() if w.node.kind == "feature"]  # the trace has them in this order
    for node, x, y in zip(nodes, drawn.x, drawn.y, strict=True):
        figure.add_annotation(x=x, y=y, text=str(node.index), showarrow=False, yshift=-15, font={"size": 10})
        rows.setdefault((node.site, node.position, y), []).append(node.index)
    for (site, late, y), indices in rows.items():
        texts_of = [html.escape(labels.of(site, index).text, quote=False) for index in indices[:2]]
        parts = [text.split(" | ")[-1 if late else 0].split(": ") for text in texts_of]
        lines = "<br>".join(f"{index}: {words}" for index, (_, words) in zip(indices, parts, strict=False))
        figure.add_annotation(
            x=width if late else 0,
            y=y,
            xanchor="left" if late else "right",
            align="left" if late else "right",
            text=f"<i>{parts[0][0]}</i><br>{lines}",
            showarrow=False,
            font={"size": 11},
        )
    figure.update_xaxes(range=[-0.75 * width, 1.75 * width])
    return figure


features = [w for w in circuit.strongest() if w.node.kind == "feature"]
labels = label(spliced, list(dict.fromkeys((w.node.site, w.node.index) for w in features)), corpus)
paths = strongest_paths(circuit, 16)
shown = cut_to(circuit, set(itertools.chain.from_iterable(path for path, _ in paths)))
figure = named(circuit_figure(shown), shown)
figure.update_layout(width=1100, height=700)
figure

# %%
early = sorted((w for w in features if w.node.site.startswith("blocks.0.")), key=lambda w: -abs(w.carried))
print(f"{'node':26} {'exact':>7} {'AtP':>7} {'IG':>7} {'chord IG':>9}  {'label'}")
for weighted in (circuit.node("token@subject"), *features[:14], None, *early[:6]):
    if weighted is None:
        print("strongest in the flow of layer 0:")
        continue
    node, other = weighted.node, weighted.estimates
    label = labels.of(node.site, node.index).text.replace("fires on: ", "") if node.kind == "feature" else ""
    numbers = f"{weighted.effect:+7.2f} {other['atp']:+7.2f} {other['ig']:+7.2f} {other['chord-ig']:+9.2f}"
    print(f"{short(circuit.name(node)):26} {numbers}  {label[:62]}")


# %% [markdown]
# Effects are negative: the patch prompt takes the metric down. The columns disagree, and each for a reason.
#
# - **AtP** follows the slope at the clean prompt. Of the subject's word it sees a small part.
# - **IG** and **chord IG** share out what happens when everything moves together.
# - **Exact** is what one node does alone. Towards layer 0 it is small: feature 546 there carries several times what it
#   moves alone. The features of layer 0 back each other up; section 5 tests that.

# %%
feature = circuit.node("blocks.0.hook_resid_post/546@subject")
seen = circuit.node("token@subject").estimates["atp"] / measured.total_effect
print(f"AtP gives the subject's word {seen:.0%} of its effect")
print(f"L0 resid_post/546 carries {feature.carried / feature.effect:.1f} times what it moves alone")
assert seen < 0.2
assert feature.carried / feature.effect > 2

# %% [markdown]
# ## 4. Read it
#
# First the paths themselves: from the subject's token to the metric, the path whose weakest edge is strongest, then the
# next one.


# %%
def text_of(name):
    """The label of a node of the circuit, by its name."""
    node = circuit.node(name).node
    return labels.of(node.site, node.index).text if node.kind == "feature" else ""


for path, width in paths[:2]:
    print(f"{width:.2f} of the total effect of {abs(measured.total_effect):.2f} fit through this path alone:")
    for name in path:
        print(f"   {short(name):26} {text_of(name)[:90]}")
across = {}
for edge in circuit.edges:
    if edge.target.kind == "feature" and edge.source.position != edge.target.position:
        across[edge.target.site] = across.get(edge.target.site, 0.0) + edge.weight
print("flow from one position to another, by the site that it enters:", {s: round(w, 2) for s, w in across.items()})

# %% [markdown]
# A label is a pointer, not a meaning. What it points to: the places where the feature is most active in fresh text,
# with that word between > and <.


# %%
def in_context(context):
    """The activation, and the words around the place where the feature is active, with that word between > and <."""
    before, after = context.tokens[: context.place], context.tokens[context.place + 1 :]
    words = context.tokens[context.place].strip()
    return f"{context.activation:8.2f} {''.join(before[-8:]).strip()} >{words}<{''.join(after)}"


for name in ("blocks.1.hook_resid_post/268", "blocks.3.hook_attn_out/490", "blocks.3.hook_attn_out/296"):
    site, index = name.rsplit("/", 1)
    label = labels.of(site, int(index))
    print(f"{short(label.name)}: active on {label.frequency:.1%} of words")
    for context in label.contexts[:3]:
        print(in_context(context))
        for writer in context.writers[:1]:
            where = f"“{writer.token.strip()}”, {writer.back} words back"
            print(f"           written by head {writer.head} from {where}")
    promoted = ", ".join(f"{token.strip()} {weight:+.1f}" for token, weight in label.promoted[:4])
    print(f"           promotes {promoted}\n")

# %% [markdown]
# Two claims are in there. One: these features of layer 3 are written from the subject, by head 2. *Direct feature
# attribution* says exactly which head at which position writes a feature of an attention output. Here it is for the
# five that carry most, on our own prompts, at `end`, always in the prompt of the pair in which the feature is active.
# Negative parts hold the feature down.

# %%
ATTENTION = "blocks.3.hook_attn_out"


def written_by(index):
    """Mean parts of one feature at `end` by head and position name, over prompts in which it is active."""
    parts, active = {}, 0
    for pair in pairs:
        for ids in (pair.clean_ids, pair.patch_ids):
            writers = direct_feature_attribution(spliced, ATTENTION, index, torch.tensor([ids]))
            if writers.activation[0] == 0:
                continue
            active += 1
            for head, source, part in writers.strongest(0, 1000):
                key = head, pair.roles[source] if pair.roles[source] in ("subject", "end") else "elsewhere"
                parts[key] = parts.get(key, 0.0) + part
    return {key: total / active for key, total in parts.items()}, active


carrying = [w for w in circuit.strongest() if getattr(w.node, "site", "") == ATTENTION and w.node.kind == "feature"]
for weighted in sorted(carrying, key=lambda w: w.carried)[:5]:
    index = weighted.node.index
    parts, active = written_by(index)
    strongest = sorted(parts, key=lambda k: -abs(parts[k]))[:3]
    written = "; ".join(f"head {head} from {where} {parts[head, where]:+.2f}" for head, where in strongest)
    print(f"{index}: carries {weighted.carried:+.2f}; active in {active} of {2 * len(pairs)} prompts; {written}")
    assert strongest[0] == (2, "subject")

# %% [markdown]
# If that is all, one head is enough. So patch heads by plain means, without any SAE: at `end`, give a head the output
# that it has in the patch prompt. First each head of layer 3, then all heads of the layers below together.

# %%
HEADS = 4


def head_outputs(ids, swaps=()):
    """Each layer's head outputs, and the last logits; `swaps` are (layer, head, values) to put in at the last word."""
    seen = {}

    def hook_of(layer):
        def hook(_, __, output):
            by_head = output.clone().reshape(*output.shape[:2], HEADS, -1)
            for _, head, values in (swap for swap in swaps if swap[0] == layer):
                by_head[:, -1, head] = values[:, -1, head]
            seen[layer] = by_head
            return by_head.reshape(output.shape)

        return hook

    points = [model.hook_point(f"blocks.{layer}.attn.hook_z") for layer in range(model.n_layers)]
    handles = [point.register_forward_hook(hook_of(layer)) for layer, point in enumerate(points)]
    try:
        with torch.no_grad():
            logits = model.logits(torch.tensor([ids]))[0, -1]
    finally:
        for handle in handles:
            handle.remove()
    return seen, logits


heads = {f"head {head} of layer 3": [(3, head)] for head in range(HEADS)}
heads["all heads below"] = list(itertools.product(range(3), range(HEADS)))
print(f"{'patched at `end`':20}" + "".join(f"{name:>22}" for name in ("own", *splits)))
moved = {name: [] for name in ("everything", *heads)}
for some in (pairs, *splits.values()):
    changes = {name: [] for name in moved}
    for pair in some:
        (_, before), (patched, other) = head_outputs(pair.clean_ids), head_outputs(pair.patch_ids)
        after = {"everything": other}
        for name, which in heads.items():
            swaps = [(layer, head, patched[layer]) for layer, head in which]
            _, after[name] = head_outputs(pair.clean_ids, swaps)
        for name, logits in after.items():
            change = logits - before
            changes[name].append(float(change[pair.answer_id] - change[pair.foil_id]))
    for name, values in changes.items():
        moved[name].append(np.mean(values))
for name, values in moved.items():
    print(f"{name:20}" + "".join(f"{value:22.2f}" for value in values))
for total, head in zip(moved["everything"], moved["head 2 of layer 3"], strict=True):
    assert head / total > 0.95

# %% [markdown]
# Head 2 of layer 3 moves all of it, on all three kinds of prompts; what the other heads move is lost beside it.
#
# Two: these features follow the number of the subject and pass over the distractor. So edit the words: "the X near the
# Y" with every combination of numbers, and read the features.

# %%
subjects = (
    "farmer cow pig baker pot plate nurse bandage mask librarian pencil poster pilot net clerk car train dancer flute "
    "hunter fox path tailor hammer"
)
distractors = (
    "gardener horse fence waiter spoon apple midwife bed teacher secretary map captain whale wave lawyer shop singer "
    "drum guitar painter owl plumber chair pipe"
)


def noun(singular, plural):
    """The noun in the plural, if `plural` is 1."""
    return {"fox": "foxes", "secretary": "secretaries"}.get(singular, f"{singular}s") if plural else singular


watched = [
    ("blocks.0.hook_resid_post", 546, 2),
    ("blocks.1.hook_resid_post", 268, 2),
    ("blocks.2.hook_resid_post", 368, 2),
    (ATTENTION, 490, 5),
    (ATTENTION, 372, 5),
    (ATTENTION, 296, 5),
]
are, is_ = (model.token_ids(word)[-1] for word in ("are", "is"))
columns = [f"{short(site).split('_')[0]}/{index}" for site, index, _ in watched]
print(f"{'subject':10}{'distractor':10}{''.join(f'{column:>14}' for column in (*columns, 'are − is'))}")
numbers, crossed = ("singular", "plural"), {}
for subject, distractor in itertools.product((0, 1), repeat=2):
    pairs_of_nouns = zip(subjects.split(), distractors.split(), strict=True)
    prompts = [f"the {noun(a, subject)} near the {noun(b, distractor)}" for a, b in pairs_of_nouns]
    ids = torch.tensor([model.token_ids(prompt) for prompt in prompts])
    run = spliced.record(ids, torch.full((len(ids),), ids.shape[1] - 1))
    values = [run.sites[site].features.dense()[:, at, index].mean() for site, index, at in watched]
    difference = (run.logits[:, are] - run.logits[:, is_]).mean()
    crossed[subject, distractor] = np.array([float(value) for value in (*values, difference)])
    print(
        f"{numbers[subject]:10}{numbers[distractor]:10}" + "".join(f"{v:14.2f}" for v in crossed[subject, distractor])
    )
for number in (0, 1):
    assert (abs(crossed[0, number] - crossed[1, number]) > 5).all()  # the subject's number decides
    assert (abs(crossed[number, 0] - crossed[number, 1]) < 1).all()  # the distractor's does not

# %% [markdown]
# The story, with what it rests on:
#
# 1. At the subject, layer 0's MLP turns the word into number: 548 and 5 fire on plural nouns, 41 on singular ones. The
#    residual stream carries it upwards as 546 and 6, then 268 in layer 1, then 368 and 110 in layer 2. All of these
#    fire on plural nouns. Beside them stand the features of single words: weak, many, and what other nouns need.
# 2. All of the circuit's flow from the subject to the end enters at one site, the attention output of layer 3 (the last
#    line of the paths above), and one head moves it. Head 2 reads the subject and writes 490 and 372 for plural, 296
#    for singular.
# 3. The distractor does not come into it: 490, 372 and 296 follow the subject's number by more than 5, and the
#    distractor's by less than 1.
# 4. Layer 3's MLP turns number into words: 321 promotes *have, are, were*, 356 *remembers, wants, admires*. The last
#    residual stream adds up: 615 and 356 promote plural verbs, 578 and 44 singular ones.

# %% [markdown]
# ## 5. Test it
#
# A graph is a set of predictions: knock a node out and the metric moves by its effect. `causal_test` does that for
# every node, in whole forward passes that share nothing with the exact patching behind the graph but the patch values;
# on the command line it is `jumpwire ablate --circuit FOLDER --test`. Here, for time, it takes the nodes with effects
# of at least 0.01. On the circuit's own pairs the two must agree to rounding. On held-out pairs they need not: that is
# a real prediction.

# %%
strong_half = part(lambda w: abs(w.effect) >= 0.01)
for name, tested in (("own pairs", pairs), ("held-out pairs", judging)):
    test = causal_test(spliced, tested, logit_difference, strong_half)
    strong = [w for w, m in zip(test.predicted, test.measured, strict=True) if abs(w) > 0.3]
    flipped = sum(p * m < 0 for p, m in zip(test.predicted, test.measured, strict=True) if abs(p) > 0.3)
    print(
        f"{name:16} correlation {test.pearson:.4f} (rank {test.spearman:.4f}), largest difference "
        f"{test.largest_difference:.5f}, wrong signs {flipped} of {len(strong)} strong nodes"
    )
    assert flipped <= 1
    assert test.pearson > (0.9999 if tested is pairs else 0.9)
_, worst = max((abs(m - p), i) for i, (p, m) in enumerate(zip(test.predicted, test.measured, strict=True)))
numbers = f"predicted {test.predicted[worst]:+.2f}, measured {test.measured[worst]:+.2f}"
print(f"missed by most on held-out pairs: {short(str(test.names[worst]))}, {numbers}")

# %% [markdown]
# Every strong node keeps its sign on held-out pairs, and its size by and large. The order of the weak ones is another
# matter, as the rank correlation shows: what they do hangs on the words.
#
# Now several nodes at once. Keep the circuit alone, or take it away; knock out, all together, the three features that
# head 2 writes at `end`: three numbers of one site at one position. Then the features that the story names at the
# subject, and those of layer 0's residual stream. Do the effects of single nodes add up?

# %%
reads = [f"{ATTENTION}/{index}@end" for index in (490, 372, 296)]
story = {"L0 mlp_out": (548, 5, 41), "L0 resid_post": (546, 6), "L1 resid_post": (268,), "L2 resid_post": (368, 110)}
story = [f"blocks.{site[1]}.hook_{site[3:]}/{index}@subject" for site, indices in story.items() for index in indices]
early = [circuit.name(w.node) for w in features if w.node.site == "blocks.0.hook_resid_post"]
groups = {
    "the three at `end`": reads,
    "the story's at the subject": story,
    f"all {len(early)} of L0 resid_post": early,
    "the whole circuit": [name for name in members if not name.startswith("token")],
}
print(f"{'knocked out':28} {'one by one, summed':>19} {'together':>9}   the verb turns in")
together = {}
for name, nodes in groups.items():
    outcome = ablate(spliced, pairs, logit_difference, Ablation.named(nodes, spliced, pairs))
    alone = sum(circuit.node(node).effect for node in nodes)
    together[name] = np.mean(outcome.after - outcome.before) / measured.total_effect
    turned = int(((outcome.before > 0) & (outcome.after < 0)).sum())
    print(f"{name:28} {alone:19.2f} {np.mean(outcome.after - outcome.before):9.2f}   {turned} of {len(pairs)} prompts")
print(f"{'everything':28} {'':19} {measured.total_effect:9.2f}")
alone = {}
for name in ("the three at `end`", "the whole circuit"):
    kept_alone = Ablation.named(groups[name], spliced, judging, operation=KEEP_ONLY)
    alone[name] = ablate(spliced, judging, logit_difference, kept_alone).faithfulness
    print(f"kept alone, on held-out pairs: {name}: F = {alone[name]:.2f}")
outcome = ablate(spliced, pairs, logit_difference, Ablation.named(reads, spliced, pairs))
print("what the three at `end` move above them, in their encoders' reading:")
for shift in outcome.features[:6]:
    print(f"   {short(str(shift)):26} {shift.before:6.2f} → {shift.after:6.2f} in {shift.prompts} prompts")

assert together["the three at `end`"] > 0.7
assert together["the story's at the subject"] > 0.8
assert min(together[f"all {len(early)} of L0 resid_post"], together["the whole circuit"]) > 0.95
assert alone["the three at `end`"] < 0.1
assert abs(alone["the whole circuit"] - searched[1]) < 0.02

# %% [markdown]
# Effects of single nodes do not add up, in either direction.
#
# - Three features at `end` do more together than one by one, and turn the verb in every prompt.
# - The features of layer 0's residual stream do everything together, and alone they seem to do a quarter: that is the
#   backing up. A list sorted by exact effects of single nodes puts them far too low; chord IG and the search do not.
# - The whole circuit's effects sum to several times the total: nodes on the same path are counted again and again.
# - What is enough to *break* the task is not enough to *do* it: the three kept alone restore nothing. The whole
#   circuit kept alone restores what its certificate says, and knocked out leaves nothing.
#
# And in running text. Features 490 and 372, which stand for plural, are removed (set to 0) at every position and at
# every step of the generation; the likeliest word is taken each time. The side effect is measured on general text, with
# the features removed everywhere.

# %%
ablation = Ablation.named([f"{ATTENTION}/490", f"{ATTENTION}/372"], spliced, pairs)
prompts = (
    "the doctors that liked the cake",
    "the boats that the sailor sees",
    "the happy doctors near the small cake",
    "the doctors near the cake",
    "the doctor that liked the cakes",
)
written = {}
for prompt in prompts:
    one = prompt_pairs([{"clean": prompt, "patch": prompt, "answer": "are", "wrong": "is"}], model)
    situation = prepare(spliced, one.batch(), logit_difference, ablation.error_mode, counterfactual)
    text = continue_prompt(situation, position_names(one)[0], ablation, new_tokens=8)
    written[prompt] = text.before.split(), text.after.split()
    print(f"{prompt} …\n   as it is   {text.before}\n   removed    {text.after}")
effect = side_effect(situation, ablation, texts["general text"])
print(
    f"\ngeneral text, {effect.tokens} words: cross-entropy {effect.cross_entropy_before:.3f} → "
    f"{effect.cross_entropy_after:.3f}, KL {effect.kl:.3f} nats a word"
)
for prompt in prompts[:3]:
    assert [text[0] for text in written[prompt]] == ["were", "is"]
    assert written[prompt][0][1:] == written[prompt][1][1:]
assert written[prompts[-1]][0] == written[prompts[-1]][1]
assert effect.kl < 0.03

# %% [markdown]
# The verb turns to the singular, and the rest of the sentence stays as it was. After a singular subject nothing
# changes. Where no verb is due yet, the change comes when it is: "the doctors near the cake that admired the mice
# boils".
#
# Does 296 stand for singular as 490 and 372 stand for plural? And can the number be written by hand? Remove 296 at
# `end` of a singular prompt; then set all three features there to what they are after a plural subject, and the other
# way round.

# %%
VALUES = {"singular": (0.0, 0.0, 13.1), "plural": (13.1, 10.7, 0.0)}  # of 490, 372, 296, from the table above


def likeliest(prompt, changes=()):
    """The three likeliest next words with their probabilities, as text; and whether the first is a plural verb."""
    ids = torch.tensor([model.token_ids(prompt)])
    chances, tokens = spliced.run(ids, list(changes)).logits[0, -1].softmax(-1).topk(3)
    words = [model.token_text(int(token)).strip() for token in tokens]
    listed = ", ".join(f"{word} {float(chance):.0%}" for word, chance in zip(words, chances, strict=True))
    return listed, words[0] in ("are", "were", "have")


for number, prompt in (("singular", "the doctor that liked the cakes"), ("plural", "the doctors that liked the cake")):
    other = "plural" if number == "singular" else "singular"
    end = [len(model.token_ids(prompt)) - 1]
    by_hand = [
        set_feature(ATTENTION, index, value, end) for index, value in zip((490, 372, 296), VALUES[other], strict=True)
    ]
    tries = {"as it is": (), f"set to {other}": by_hand}
    if number == "singular":
        tries["without 296"] = [ablate_feature(ATTENTION, 296, end)]
    print(f"{prompt} …")
    for name, changes in tries.items():
        words, is_plural = likeliest(prompt, changes)
        print(f"   {name:16} {words}")
        assert is_plural == ((other if name.startswith("set") else number) == "plural")

# %% [markdown]
# Without 296 the verb stays singular: singular is what the model says when nothing says plural, and 296 only makes it
# surer. The three numbers together decide. Written by hand, they turn the verb completely, in both directions.

# %% [markdown]
# ## 6. What this does not show
#
# - **It is a circuit of these prompts.** Features of held-out nouns that none of its prompts switches are not in it,
#   and no ranking, search or size brings them in. More pairs can: `make circuit` takes 100.
# - **It is about one contrast**, singular against plural. What chooses *is* over *was*, or a verb at all, is the same
#   in both prompts, so it is not here.
# - **The tail has no story.** Some three hundred nodes with effects below 0.03 are in it because F on other nouns needs
#   them. What each does is not known.
# - **Labels are pointers.** They say where a feature is most active and what its direction promotes. 615 fires on
#   plural nouns and promotes plural verbs; it is the reader who says "plural verb next". 48 promotes nothing readable,
#   at an effect of almost −2.
# - **Edges are shares of a joint flow** from the clean to the patch prompt. They add up to the total effect. What
#   happens when one edge is cut, they do not say.
# - **Effects are in `live` mode**: the SAEs' errors are computed anew in every run. In `frozen` or `zero` mode gates
#   stand in the way, and numbers differ; see [when gradients are blind](02_when_gradients_are_blind.ipynb).
# - **It is a made-up language** of 592 words and a small model. The method scales; that real models are as tidy, it
#   does not say.
