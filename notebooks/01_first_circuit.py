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
# finds the circuit of SAE features that does it, reads its certificate, reads its features, tests it by knocking
# features out, and edits the model's text with them. The model and its SAEs ship with the project. Every number is
# computed when the cell runs; all of it takes about a minute on one thread.

# %%
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
    Ablation,
    Selection,
    ablate,
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
pairs = prompt_pairs("agreement", model, split="train", examples=16)
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
# Which nodes belong to the circuit is decided here by their rank in chord IG: the fewest that, with everything else
# patched, restore 85% of the metric on these very pairs. (Left to itself, `discover` searches, and lets other pairs
# choose the size. What that gains is shown below.) Chord flow joins them by edges. A node that lies on no path of edges
# from a token or an error to the metric is pruned, and so are weak edges, but never a node's strongest edge in or out.
# Then the circuit is judged, also on prompts it was not found on.

# %%
splits = {
    split: prompt_pairs("agreement", model, split=split, examples=16) for split in ("held_out", "out_of_distribution")
}
texts = {"general text": list(embedded_corpus(model, documents=32).pieces())}
by_rank = Selection(faithful=0.85, by="ranking")
found = discover(spliced, pairs, logit_difference, select=by_rank, rank_by="chord-ig", splits=splits, texts=texts)
circuit = found.circuit
measured = circuit.measurement
count = len(circuit.nodes) - 1
print(f"{count} of {measured.nodes_measured} nodes, {measured.pruned} pruned; {len(circuit.edges)} edges")
marks = {"green": "●", "amber": "▲", "red": "■", "grey": "·"}
certificate = Table("", "", "", "", box=None, show_header=False, pad_edge=False)
for line in sorted(certificate_lines(circuit), key=lambda line: line.colour == "grey"):  # facts without a colour last
    certificate.add_row(marks[line.colour], line.name, line.value, line.reading)
for column in certificate.columns[:3]:
    column.no_wrap = True
console.print(certificate)

# %% [markdown]
# ● trust it, ▲ mind it, ■ do not rely on it; every line follows a stated rule (`certificate_lines` gives it). Read the
# bad lines first.
#
# - **Red, held-out prompts: 33%.** Their subjects are nouns that the training text put in this role in one kind of
#   sentence only. More pairs do not cure it: 48 pairs with the same rule give 109 nodes and 26% there. The
#   rule asks for the *fewest* nodes that do the job on the circuit's own prompts, and these lean on these prompts'
#   words. The next two cells look into that.
# - **Amber, out of distribution: 75%**, sentences of a structure that the model was not trained on.
# - **Green, own prompts: 85%.** The rule took nodes until it got there, so this line says little; the two below it say
#   more.
# - The SAEs recover more than 100% on the task's answers: on these 32 words the model predicts a little better from
#   reconstructions. That is no reason for joy; it says that the words are few.

# %%
ranking = rank_nodes(chord_integrated_gradients(spliced, pairs, logit_difference), pairs, model)
print("nodes   own pairs   held out   out of distribution")
for size in (100, 400, len(ranking.nodes)):
    own, held_out, other = faithfulness_report(spliced, {"own": pairs, **splits}, logit_difference, ranking.top(size))
    print(f"{size:5}   {own.faithfulness:9.2f}   {held_out.faithfulness:8.2f}   {other.faithfulness:19.2f}")

# %% [markdown]
# So the red line is mostly a matter of size: the first 400 nodes of the same ranking restore 75% on held-out
# prompts. They are many for a story, but a circuit all the same: `jumpwire find --examples 48 --nodes 400 --rank-by
# chord-ig` keeps 398 of them, joined by 1,230 edges, and reaches 98% on its own prompts, 73% held out and 92% out
# of distribution. All 6,006 nodes that our 16 pairs switch restore 81%; the rest is not to be had from them. What
# is missing?

# %%
held_out_pairs = splits["held_out"]
elsewhere = rank_nodes(chord_integrated_gradients(spliced, held_out_pairs, logit_difference), held_out_pairs, model)


def place(node, positions):
    """A node's name, whatever grid it is on."""
    where = positions[node.position].label
    what = "token" if node.kind == "token" else f"{node.site}/{getattr(node, 'index', 'error')}"
    return f"{what}@{where}"


members = {circuit.name(w.node) for w in circuit.strongest()}
strongest = [w for w in elsewhere.nodes if w.node.kind == "feature"][:100]
missing = [w for w in strongest if place(w.node, elsewhere.positions) not in members]
layers = [short(w.node.site).split()[0] for w in missing]
where = ", ".join(f"{layers.count(layer)} in {layer}" for layer in sorted(set(layers)))
print(f"{len(missing)} of the 100 strongest features of held-out pairs are not in the circuit: {where}")
ranked = {place(w.node, ranking.positions) for w in ranking.nodes}
unswitched = [w for w in missing if place(w.node, elsewhere.positions) not in ranked]
print(f"{len(unswitched)} of them are switched by none of our 16 pairs")
corpus = embedded_corpus(model, documents=300)
unseen = label(spliced, [(w.node.site, w.node.index) for w in missing[:6]], corpus)
for weighted, found_label in zip(missing, unseen, strict=False):
    print(f"{weighted.effect:+.2f}  {short(place(weighted.node, elsewhere.positions)):28} {found_label.text}")


# %% [markdown]
# Squirrels, gloves, divers, ladders, bridges, coats: all of these are the held-out nouns. The model has features of its
# own for them. Our pairs switch 8 of the 25 not at all, and the others so little that they rank below the circuit's.

# %% [markdown]
# ### A search instead of a ranking
#
# The iterated mask path asks the question that a circuit is judged by: with everything outside at its patch value, what
# does each node that is left contribute? It drops what helps least, asks again, and lets pairs with other nouns choose
# the size. Half of the held-out pairs choose it here; the other half, with nouns of their own, judges.

# %%
parts = split_pairs(splits["held_out"], validation=0.5, by_words=True)
judging = {"held_out": parts.train, "out_of_distribution": splits["out_of_distribution"]}
searched = discover(spliced, pairs, logit_difference, validation=parts.validation, splits=judging, explained=0).circuit
print(f"{len(searched.nodes) - 1} nodes")
for line in certificate_lines(searched)[:9]:
    print(f"{marks[line.colour]} {line.name:38} {line.value}")

# %% [markdown]
# The search keeps 409 nodes, where the ranking kept 120, and restores 90% of the effect on nouns it never met, where
# the ranking's nodes restore 33% and its first 400 restore 75%. Every line is green: the rest of the model, without
# these nodes, does nothing of the task.
#
# ## 3. Look at it
#
# What follows is the circuit of the ranking: fewer nodes are easier to look at.
#
# All nodes stand at two positions: the subject, and `end`, the last word of the prompt, where the verb is predicted. So
# the picture has two columns. It shows the nodes on the strongest paths from the subject's token to the metric (below:
# how they are chosen); numbers are features, size is the exact effect, lines are chord flow.


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
        parts = [labels.of(site, index).text.split(" | ")[-1 if late else 0].split(": ") for index in indices[:2]]
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
# - **AtP** follows the slope at the clean prompt. It gives the subject's word 0.8 of its 14.9 logits.
# - **IG** and **chord IG** share out what happens when everything moves together.
# - **Exact** is what one node does alone. Towards layer 0 it is small. Feature 546 there carries 3.5 logits of the
#   flow, yet alone it moves 0.9. The features of layer 0 back each other up; section 5 tests that.

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
# attribution* says exactly which head at which position writes a feature of an attention output. Here it is on our own
# prompts, at `end`, always in the prompt of the pair in which the feature is active. Negative parts hold the feature
# down.

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


for index in (490, 372, 296):
    parts, active = written_by(index)
    strongest = sorted(parts, key=lambda k: -abs(parts[k]))[:4]
    written = "; ".join(f"head {head} from {where} {parts[head, where]:+.2f}" for head, where in strongest)
    print(f"{index}: active in {active} of {2 * len(pairs)} prompts; {written}")

# %% [markdown]
# Two: they follow the number of the subject and pass over the distractor. So cross the two: "the X near the Y" with
# every combination of numbers, and read the features.

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
heads = [f"{short(site).split('_')[0]}/{index}" for site, index, _ in watched]
print(f"{'subject':10}{'distractor':10}{''.join(f'{head:>14}' for head in (*heads, 'are − is'))}")
numbers = ("singular", "plural")
for subject, distractor in itertools.product((0, 1), repeat=2):
    pairs_of_nouns = zip(subjects.split(), distractors.split(), strict=True)
    prompts = [f"the {noun(a, subject)} near the {noun(b, distractor)}" for a, b in pairs_of_nouns]
    ids = torch.tensor([model.token_ids(prompt) for prompt in prompts])
    run = spliced.record(ids, torch.full((len(ids),), ids.shape[1] - 1))
    values = [run.sites[site].features.dense()[:, at, index].mean() for site, index, at in watched]
    difference = (run.logits[:, are] - run.logits[:, is_]).mean()
    columns = "".join(f"{float(v):14.2f}" for v in (*values, difference))
    print(f"{numbers[subject]:10}{numbers[distractor]:10}{columns}")

# %% [markdown]
# The story, with what it rests on:
#
# 1. At the subject, layer 0's MLP turns the word into number: 548 and 5 fire on plural nouns, 41 on singular ones. The
#    residual stream carries it upwards as 546 and 6, then 268 in layer 1, then 368 and 110 in layer 2. All of these
#    fire on plural nouns.
# 2. All of the circuit's flow from the subject to the end enters at one site, the attention output of layer 3 (the last
#    line of the paths above). Head 2 reads the subject and writes 490 and 372 for plural, 296 for singular. The next
#    strongest part that any head writes there is 0.2.
# 3. The distractor does not come into it: 490, 372 and 296 follow the subject's number, by 10 to 13, and the
#    distractor's by 0.13 at most.
# 4. Layer 3's MLP turns number into words: 321 promotes *have, are, were*, 356 *remembers, wants, admires*. The last
#    residual stream adds up: 615 and 356 promote plural verbs, 578 and 44 singular ones.

# %% [markdown]
# ## 5. Test it
#
# A graph is a set of predictions: knock a node out and the metric moves by its effect. `causal_test` does that, in
# whole forward passes that share nothing with the exact patching behind the graph but the patch values. On the
# circuit's own pairs the two must agree to rounding. On held-out pairs (6, for time) they need not: that is a real
# prediction.

# %%
for name, tested in (("own pairs", pairs), ("6 held-out pairs", held_out_pairs.head(6))):
    test = causal_test(spliced, tested, logit_difference, circuit)
    strong = [w for w, m in zip(test.predicted, test.measured, strict=True) if abs(w) > 0.3]
    flipped = sum(p * m < 0 for p, m in zip(test.predicted, test.measured, strict=True) if abs(p) > 0.3)
    print(
        f"{name:16} correlation {test.pearson:.4f} (rank {test.spearman:.4f}), largest difference "
        f"{test.largest_difference:.5f}, wrong signs {flipped} of {len(strong)} strong nodes"
    )
_, worst = max((abs(m - p), i) for i, (p, m) in enumerate(zip(test.predicted, test.measured, strict=True)))
numbers = f"predicted {test.predicted[worst]:+.2f}, measured {test.measured[worst]:+.2f}"
print(f"missed by most on held-out pairs: {short(str(test.names[worst]))}, {numbers}")

# %% [markdown]
# On held-out pairs no strong node has the wrong sign. The largest miss is a feature that does little on our pairs and
# much on those.
#
# Now by hand. Take the two plural features and the singular one that head 2 writes at `end`, and give them the values
# that they have in the patch prompt: three numbers out of the 577 of one site at one position. Do their effects add up?

# %%
reads = [f"{ATTENTION}/{index}@end" for index in (490, 372, 296)]
outcome = ablate(spliced, pairs, logit_difference, Ablation.named(reads, spliced, pairs))
alone = sum(circuit.node(name).effect for name in reads)
early = [circuit.name(w.node) for w in features if w.node.site == "blocks.0.hook_resid_post"]
together = ablate(spliced, pairs, logit_difference, Ablation.named(early, spliced, pairs))
early_alone = sum(circuit.node(name).effect for name in early)
change = np.mean(together.after - together.before)
print(
    f"the three at `end`, one by one, summed: {alone:+.2f}   together: {np.mean(outcome.after - outcome.before):+.2f}"
)
print(f"{len(early)} features of layer 0, one by one, summed: {early_alone:+.2f}   together: {change:+.2f}")
print(f"everything at its patch value: {measured.total_effect:+.2f}")
turned = int(((outcome.before > 0) & (outcome.after < 0)).sum())
print(f"the verb turns to the other number in {turned} of {len(pairs)} prompts")
for shift in outcome.features[:6]:
    print(f"   {short(str(shift)):26} {shift.before:6.2f} → {shift.after:6.2f} in {shift.prompts} prompts")

# %% [markdown]
# And in running text. Features 490 and 372 are removed (set to 0) at every position and at every step of the
# generation, the likeliest word is taken each time. The side effect is measured on general text, with the features
# removed everywhere.

# %%
ablation = Ablation.named([f"{ATTENTION}/490", f"{ATTENTION}/372"], spliced, pairs)
prompts = (
    "the doctors that liked the cake",
    "the boats that the sailor sees",
    "the happy doctors near the small cake",
    "the doctors near the cake",
    "the doctor that liked the cakes",
)
for prompt in prompts:
    entry = {"clean": prompt, "patch": prompt, "answer": "are", "wrong": "is"}
    one = prompt_pairs([entry], model)
    situation = prepare(spliced, one.batch(), logit_difference, ablation.error_mode, counterfactual)
    text = continue_prompt(situation, position_names(one)[0], ablation, new_tokens=8)
    print(f"{prompt} …\n   as it is   {text.before}\n   removed    {text.after}")
effect = side_effect(situation, ablation, texts["general text"])
print(
    f"\ngeneral text, {effect.tokens} words: cross-entropy {effect.cross_entropy_before:.3f} → "
    f"{effect.cross_entropy_after:.3f}, KL {effect.kl:.3f} nats a word"
)

# %% [markdown]
# The effects do not add up, in either place. Three features at the end do more together (−12.3) than one by one (−8.2).
# The 11 of layer 0 do nearly everything together (−14.6), and alone they seem to do a quarter of it: that is the
# backing up. A list sorted by exact effects of single nodes puts them far too low; chord IG and the search do not.
#
# In the text, the verb turns to the singular, and the rest of the sentence stays as it was. After a singular subject
# nothing changes. Where no verb is due yet, the change comes when it is: "the doctors near the cake that admired the
# mice boils". On general text the price is 0.01 nats a word on average.

# %% [markdown]
# ## 6. What this does not show
#
# - **It is a circuit of these prompts.** 25 of the 100 strongest features of held-out prompts are not in it, 8 of them
#   because none of its prompts switches them; no ranking and no size brings those in.
# - **It is about one contrast**, singular against plural. What chooses *is* over *was*, or a verb at all, is the same
#   in both prompts, so it is not here.
# - **Labels are pointers.** They say where a feature is most active and what its direction promotes. 615 fires on
#   plural nouns and promotes plural verbs; it is the reader who says "plural verb next". 48 promotes nothing readable,
#   at an effect of −1.9.
# - **Edges are shares of a joint flow** from the clean to the patch prompt. They add up to the total effect. What
#   happens when one edge is cut, they do not say.
# - **Effects are in `live` mode**: the SAEs' errors are computed anew in every run. In `frozen` or `zero` mode gates
#   stand in the way, and numbers differ; see [when gradients are blind](02_when_gradients_are_blind.ipynb).
# - **It is a made-up language** of 592 words and a small model. The method scales; that real models are as tidy, it
#   does not say.
