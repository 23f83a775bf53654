"""Composite features: what effects look like when an SAE has learned "a and b" where the model holds a and b apart.

The model writes two atoms into its residual stream, x_a and x_b, and a later MLP computes relu(x_a + x_b − 1), which is
1 where both are there. Mostly a and b occur together, so the SAE has a feature for both, besides a alone and b alone:

    atomic      f = (a, b)                             D(f) = f_1 e_a + f_2 e_b
    composite   f = (a and b, a alone, b alone)        D(f) = f_1 (e_a + e_b) + f_2 e_a + f_3 e_b

Both reconstruct every prompt exactly. The prompts say "both" (clean) and "only b" (patch): a is taken away, b stays.
The model is asked for x_a, for x_b, and for whether both are there. Only a changes, so in truth a matters for x_a and
for "both", and nothing matters for x_b. In the composite basis the same change turns "a and b" off and "b alone" on.

No method and no check sees that: every number is right. What does see it is the splitting test, by the directions
alone: "a and b" is the other two together. ITO over the features that do not split is the atomic basis again.
"""

from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from attribution import Effects, JumpReLU, LanguageModel, PromptPair, PromptPairs, Pursuit, SplicedModel, splitting
from benchmarks.programs.compiled_model import BOS, CompiledModel, Vocabulary
from circuits import attribution_patching, check, chord_integrated_gradients, exact_patching, logit_difference

ATOMS_SITE: Final = "blocks.0.hook_mlp_out"
BOTH_SITE: Final = "blocks.1.hook_mlp_out"
ATOMIC: Final = ("a", "b")
COMPOSITE: Final = ("a and b", "a alone", "b alone")
QUESTIONS: Final = ("x_a", "x_b", "both")
_BOTH, _ONLY_B = 1, 2
_SAID, _ATOM, _ANSWER, _ONE = slice(0, 2), slice(2, 4), 4, 5
_WIDTH: Final = 6


def atoms_model() -> LanguageModel:
    """A model of the tokens BOS, "both" and "only b". Block 0 writes the atoms, block 1 whether both are there."""
    zero = torch.zeros(_WIDTH, _WIDTH, dtype=torch.float64)
    blocks = {f"blocks.{n}.{part}": zero for n in (0, 1) for part in ("query", "key", "value", "out")}
    embed = torch.zeros(3, _WIDTH, dtype=torch.float64)
    embed[:, _ONE] = 1
    embed[_BOTH, 0] = embed[_BOTH, 1] = embed[_ONLY_B, 1] = 1
    copy, up, down = zero.clone(), zero.clone(), zero.clone()
    copy[_SAID, _ATOM] = torch.eye(2, dtype=torch.float64)
    up[_ATOM, 0], up[_ONE, 0], down[0, _ANSWER] = 1, -1, 1
    one = torch.eye(_WIDTH, dtype=torch.float64)
    weights = {
        **blocks,
        "embed": embed,
        "pos_embed": torch.zeros(8, _WIDTH, dtype=torch.float64),
        "blocks.0.up": one,
        "blocks.0.down": copy,
        "blocks.1.up": up,
        "blocks.1.down": down,
    }
    built = CompiledModel(weights, 1, [2, 3, _ANSWER], "composite").double()
    return LanguageModel(built, Vocabulary())


def spliced_by_what_does_not_split() -> SplicedModel:
    """The composite SAE without the features that the splitting test finds, its codes found by ITO."""
    composite = spliced_atoms(COMPOSITE)
    sae = composite.saes[ATOMS_SITE]
    kept = ~splitting(sae).composites()
    searched = Pursuit.of(sae, k=int(kept.sum()))
    without = replace(searched, W_enc=searched.W_enc[:, kept], W_dec=searched.W_dec[kept])
    return SplicedModel(composite.model, {**composite.saes, ATOMS_SITE: without}, dtype=torch.float64)


def spliced_atoms(basis: tuple[str, ...]) -> SplicedModel:
    """The model with an SAE of the atoms, atomic or composite, and one that reads whether both are there."""
    e_a, e_b, answer = torch.eye(_WIDTH, dtype=torch.float64)[[2, 3, _ANSWER]]
    both = _sae([answer], [answer], [0.5])
    if basis == ATOMIC:
        atoms = _sae([e_a, e_b], [e_a, e_b], [0.5, 0.5])
    else:
        atoms = _sae([(e_a + e_b) / 2, e_a - e_b, e_b - e_a], [e_a + e_b, e_a, e_b], [0.75, 0.5, 0.5])
    return SplicedModel(atoms_model(), {ATOMS_SITE: atoms, BOTH_SITE: both}, dtype=torch.float64)


def _sae(reads: list[Tensor], writes: list[Tensor], threshold: list[float]) -> JumpReLU:
    none = torch.zeros(_WIDTH, dtype=torch.float64)
    return JumpReLU(
        W_enc=torch.stack(reads, 1),
        W_dec=torch.stack(writes),
        b_dec=none,
        b_enc=none[: len(reads)],
        threshold=torch.tensor(threshold, dtype=torch.float64),
    )


def question_pairs(question: str) -> PromptPairs:
    """The one pair, asked for x_a, x_b or both. The foil is BOS, whose logit is 0."""
    answer = 3 + QUESTIONS.index(question)
    return PromptPairs((PromptPair((BOS, _BOTH), (BOS, _ONLY_B), answer, BOS),))


def by_feature(effects: Effects, basis: tuple[str, ...]) -> dict[str, float]:
    """Effects at the atoms' site, by the feature's name. A feature that does not change is left out."""
    here = effects.at(ATOMS_SITE) & effects.of_kind("feature")
    return {basis[i]: float(e) for i, e in zip(effects.index[here], effects.effect[here], strict=True)}


def composite_report() -> list[dict[str, Any]]:
    """Exact effects, estimates and the checker's flags, for both bases and all questions. Effects meet gates.

    What the splitting test leaves has exact effects only.
    """
    rows: list[dict[str, Any]] = []
    for basis, name in ((ATOMIC, "atomic"), (COMPOSITE, "composite")):
        world = spliced_atoms(basis)
        for question in QUESTIONS:
            arguments = (world, question_pairs(question), logit_difference)
            exact, atp = (m(*arguments, error_mode="frozen") for m in (exact_patching, attribution_patching))
            verdict = check(*arguments, atp, exact=exact, threshold=0.01, explained=0)
            rows.append(
                {
                    "basis": name,
                    "question": question,
                    "total effect": float(exact.total_effect[0]),
                    "exact": by_feature(exact, basis),
                    "AtP": by_feature(atp, basis),
                    "chord IG": by_feature(chord_integrated_gradients(*arguments), basis),
                    "flags on AtP": [f"{v.node}: {v.flag}" for v in verdict.flagged],
                }
            )
    world = spliced_by_what_does_not_split()
    for question in QUESTIONS:
        exact = exact_patching(world, question_pairs(question), logit_difference, error_mode="frozen")
        total = float(exact.total_effect[0])
        effects = {"exact": by_feature(exact, ATOMIC)}
        rows.append({"basis": "composite, split", "question": question, "total effect": total, **effects})
    return rows
