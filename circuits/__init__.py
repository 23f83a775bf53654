"""The front door: what a session in Python needs, and whole-circuit questions in the rooms behind it.

    >>> from circuits import discover, load_model, load_saes, logit_difference, prompt_pairs, splice

Everything below is imported when it is first used, so that `import circuits` is quick and loads no torch. Those who
build on the parts find them in `attribution` (methods, splice, edges, references) and `graphs` (nodes, files, figures).

**Load.** `load_model`, and `model_report`, which says what a model has proved; `load_saes`, a folder or one of the
embedded sets (`sae_sets`); `splice` (a model with SAEs in it); `prompt_pairs`, from a file, from rows or from a task.
`TASKS` are the names of the embedded model's tasks, `SPLITS` those of the splits that each of them has; `ANY_TASKS` are
tasks for any model, in words that are single tokens of its tokenizer.

    >>> TASKS, SPLITS
    (('agreement', 'pronoun', 'indirect_object', 'closing'), ('train', 'held_out', 'out_of_distribution'))
    >>> ANY_TASKS
    ('ioi', 'greater_than', 'gender', 'agreement', 'induction', 'docstring', 'capital')
    >>> model_report(model).backend
    'transformer-lens'
    >>> everywhere = [prompt_pairs(task, model, split=split, examples=1) for task in TASKS for split in SPLITS]

A splice may be restricted, and everything below then measures that: to some sites (`at_sites`: names, kinds, globs),
or to a layer and those above, with all below kept as it is (`from_layer`). `trial_of_sites` says what each kind of site
lets through.

    >>> spliced.at_sites("resid_post").from_layer(3).sites
    ('blocks.3.hook_resid_post',)

**Metrics**: numbers read from the logits where the answer begins, or at any other position (`reading_at`). Every effect
is a change of one, in its unit; positive: the metric rises when the node takes its patch value. `logit_difference`:
logit(answer) − logit(foil), in logits, and `mean_logit_difference`; `probability_difference`; `log_probability`: log
p(answer), in nats. `kl_divergence`: KL(clean run ‖ this run) over the vocabulary, in nats; it is 0 at the clean run and
so is its gradient, so methods that look only there refuse it.

    >>> metrics = (logit_difference, mean_logit_difference, probability_difference, log_probability, kl_divergence)
    >>> [metric.unit for metric in metrics]
    ['logits', 'logits', 'probability', 'nats', 'nats']
    >>> logit_difference.reading_at("end").name
    'logit_difference at end'

A pair whose metric is NaN or infinite on one of its prompts is refused before anything is measured. `finite_pairs`
leaves such pairs out, and says what is wrong with each.

    >>> pairs, left_out = finite_pairs(model, pairs, logit_difference)
    >>> left_out
    {}

**Discover.** `discover` finds the circuit of some pairs and certifies it, `discover_each` one of every pair,
`Selection` says how many nodes a circuit keeps. `faithfulness_report` measures how much of the metric a circuit keeps
alive on any pairs, and `certificate_lines` puts its certificate in words, each line with a colour. `found.warnings`
says what is no error, but makes less sense than it looks.

    >>> all(line.name and line.value and line.colour for line in certificate_lines(found.circuit))
    True
    >>> [warning.kind for warning in found.warnings]
    ['few_pairs']

**Estimate.** Every method gives `Effects`: one effect for each example and node, with the nodes' clean and patch
values. `exact_patching` patches each node by itself and is the truth about single nodes. `attribution_patching` (AtP),
`attribution_patching_star` (AtP*), `integrated_gradients` (site path), `input_path_integrated_gradients` and
`chord_integrated_gradients` estimate it.

    >>> exact = exact_patching(spliced, pairs, logit_difference, error_mode="frozen")
    >>> estimate = attribution_patching(spliced, pairs, logit_difference, error_mode="frozen")
    >>> (estimate.method, estimate.metric_unit, len(estimate) == len(exact))
    ('attribution_patching', 'logits', True)
    >>> attribution_patching_star(spliced, pairs, logit_difference).method
    'attribution_patching_star'
    >>> integrated_gradients(spliced, pairs, logit_difference).error_mode
    'live'
    >>> input_path_integrated_gradients(spliced, pairs, logit_difference).error_mode
    'path'
    >>> chords = chord_integrated_gradients(spliced, pairs, logit_difference)
    >>> bool((abs(chords.residual) < 0.02 * abs(chords.total_effect)).all())
    True

**Check and explain.** `check` holds an estimate against exact patching and flags the nodes it is wrong about;
`explain_node` follows one node's exact effect downstream to the metric, as a flow.

    >>> verdict = check(spliced, pairs, logit_difference, estimate, verify=50, explained=0)
    >>> verdict.verified >= 50
    True
    >>> worst = verdict.flagged[0]
    >>> story = explain_node(spliced, pairs, logit_difference, worst.node, example=worst.example)
    >>> len(story.effects) > 0
    True

**Intervene** in a forward pass, on a feature (`set_feature`, `add_to_feature`, `scale_feature`, `ablate_feature`) or on
an SAE's error (`set_error`, `add_to_error`, `scale_error`, `ablate_error`), at given positions or everywhere. An
intervention that would change nothing is an error.

    >>> batch, strongest = pairs.batch(), found.circuit.strongest()
    >>> feature = next(w.node for w in strongest if w.node.kind == "feature" and w.clean > 0)
    >>> site, index = feature.site, feature.index
    >>> changes = [set_feature(site, index, 5.0), add_to_feature(site, index, 5.0), scale_feature(site, index, 0.5)]
    >>> changes.append(ablate_feature(site, index))
    >>> error = spliced.record(batch.clean_ids, batch.last).sites[site].error
    >>> changes += [set_error(site, 2 * error), add_to_error(site, error), scale_error(site, 0.5), ablate_error(site)]
    >>> clean = spliced.run(batch.clean_ids).logits
    >>> all((spliced.run(batch.clean_ids, [change]).logits != clean).any() for change in changes)
    True

**Ablate.** `ablate` carries out an `Ablation` on whole prompts: an operation on any number of nodes. `REMOVE` gives
them their value in the patch prompt (or zero, or a mean); `KEEP_ONLY` gives that to every other node. `causal_test`
knocks out each node of a circuit and compares the metric with what the graph predicts; `causal_tests` does so apart for
the pairs that found it (`FoundOn`) and for others. `continue_prompt` generates text
with and without an ablation, and `side_effect` measures what it does to general text.

**Steer.** `steer` carries out a `Steering`, changes of nodes or along a direction, at several strengths: the metric,
KL, text that continues the prompts (`Sampling`) and how fluent it is. `graphs.steering_curve` draws it.

**Judge dictionaries.** `dictionary_quality` says how good the SAEs of a splice are on a text: what they reconstruct,
what that does to the model's predictions, and whether their scale is biased.

    >>> texts = list(embedded_corpus(model, documents=4).pieces())
    >>> dictionary_quality(splice(model, load_saes("topk", layers=[3])), texts).sites[0].l0 <= 18
    True

**Search for features** instead of encoding them: `gradient_pursuit` (ITO) and `matching_pursuit` find a sparse code
over any decoder, and a `Pursuit` is such a search as a kind of SAE, which exact methods take. `threshold_rounding` asks
whether a better reconstruction is more than a matter of small activations.

    >>> import torch
    >>> sae = load_saes("relu")["blocks.3.hook_resid_post"]
    >>> x = torch.randn(5, sae.d_in)
    >>> code = gradient_pursuit(x - sae.b_dec, sae.W_dec, k=8)
    >>> bool((code.coefficients == Pursuit.of(sae, k=8).encode(x).features).all())
    True
    >>> matching_pursuit(x - sae.b_dec, sae.W_dec, k=8).chosen.shape
    torch.Size([5, 8])
    >>> rounding = threshold_rounding(splice(model, [sae]), texts[:1], shares=[0.5])
    >>> rounding.bet("FVU").outcome in ("won", "lost", "open", "void")
    True

**Rank** nodes: `rank_nodes` averages effects over their pairs, `rank` those of a dataset of any length. **Label**
features by the text they fire on: `label`, on an `embedded_corpus` or a `corpus_from_file`. `feature_report` says
what fires, writes and reads one feature and tests it; `find_features` finds features by what they do.

**Compare.** `compare` holds two circuits against each other, each as a `Side` with its model and pairs: what they share
and how well each does the other's task. `union_of` and `intersection_of` make one circuit of several. `judge_elsewhere`
judges one where it was not found: on other splits, and where `pairs_in_text` finds its task in text of no template.

    >>> compare(Side(found.circuit), Side(found.circuit)).node_overlap.jaccard
    1.0

**Share.** `export` writes a circuit in any format; `write_page`, `save_circuit` and `load_circuit` are its commonest.

    >>> write_page(found.circuit, folder / "circuit.html", title="agreement")
    >>> save_circuit(found.circuit, folder / "circuit.json")
    >>> load_circuit(folder / "circuit.json") == found.circuit
    True

**Resume.** Inside `kept_in` every measurement keeps its finished work on disk and finds it again.

    >>> with kept_in(folder / "chunks") as store:
    ...     again = exact_patching(spliced, pairs, logit_difference, error_mode="frozen")
    >>> bool((again.effect == exact.effect).all())
    True

Rooms, each importing only from those before it: `terminal`, `tasks`, `embedded`, `ranking`, `faithfulness`, `ablation`,
`labels`, `features`, `steering`, `shift`, `discovery`, `comparing`, `commands`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from graphs.notebook_display import MimeBundle, set_notebook_view

if TYPE_CHECKING:
    from attribution.checking.check import check
    from attribution.checking.dictionary_quality import dictionary_quality
    from attribution.checking.model_report import model_report
    from attribution.checking.threshold_rounding import threshold_rounding
    from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
    from attribution.dictionaries import Pursuit, gradient_pursuit, matching_pursuit
    from attribution.edges.explain_node import explain_node
    from attribution.effects.finite_pairs import finite_pairs
    from attribution.methods.attribution_patching import attribution_patching
    from attribution.methods.attribution_patching_star import attribution_patching_star
    from attribution.methods.exact_patching import exact_patching
    from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
    from attribution.methods.integrated_gradients import integrated_gradients
    from attribution.prompts.metrics import (
        kl_divergence,
        log_probability,
        logit_difference,
        mean_logit_difference,
        probability_difference,
    )
    from attribution.runs.chunk_store import kept_in
    from attribution.splice.edits import KEEP_ONLY, REMOVE
    from attribution.splice.interventions import (
        ablate_error,
        ablate_feature,
        add_to_error,
        add_to_feature,
        scale_error,
        scale_feature,
        set_error,
        set_feature,
    )
    from circuits.ablation.ablation import ablate
    from circuits.ablation.causal_test import causal_test
    from circuits.ablation.causal_tests import FoundOn, causal_tests
    from circuits.ablation.edits import Ablation
    from circuits.ablation.generation import continue_prompt
    from circuits.ablation.side_effect import side_effect
    from circuits.comparing.combine import intersection_of, union_of
    from circuits.comparing.compare import compare
    from circuits.comparing.elsewhere import judge_elsewhere
    from circuits.comparing.side import Side
    from circuits.discovery.discover import discover, discover_each
    from circuits.discovery.export import export
    from circuits.discovery.selection import Selection
    from circuits.embedded.load import load_model, load_saes, sae_sets, splice
    from circuits.faithfulness.faithfulness import faithfulness_report
    from circuits.features.feature_report import feature_report
    from circuits.features.search import find_features
    from circuits.labels.corpus import corpus_from_file, embedded_corpus
    from circuits.labels.feature_labels import label
    from circuits.ranking.aggregate import rank_nodes
    from circuits.ranking.dataset import rank
    from circuits.selection.pair_parts import split_pairs
    from circuits.selection.trial_of_sites import trial_of_sites
    from circuits.steering.samples import Sampling
    from circuits.steering.steering import Steering
    from circuits.steering.sweep import steer
    from circuits.tasks.any_model.in_text import pairs_in_text
    from circuits.tasks.any_model.registry import ANY_TASKS
    from circuits.tasks.prompts import prompt_pairs
    from circuits.tasks.templates import SPLITS, TASKS
    from graphs import certificate_lines, load_circuit, save_circuit, write_page

__all__ = [
    "ANY_TASKS",
    "KEEP_ONLY",
    "REMOVE",
    "SPLITS",
    "TASKS",
    "Ablation",
    "FoundOn",
    "Pursuit",
    "Sampling",
    "Selection",
    "Side",
    "Steering",
    "ablate",
    "ablate_error",
    "ablate_feature",
    "add_to_error",
    "add_to_feature",
    "attribution_patching",
    "attribution_patching_star",
    "causal_test",
    "causal_tests",
    "certificate_lines",
    "check",
    "chord_integrated_gradients",
    "compare",
    "continue_prompt",
    "corpus_from_file",
    "dictionary_quality",
    "discover",
    "discover_each",
    "embedded_corpus",
    "exact_patching",
    "explain_node",
    "export",
    "faithfulness_report",
    "feature_report",
    "find_features",
    "finite_pairs",
    "gradient_pursuit",
    "input_path_integrated_gradients",
    "integrated_gradients",
    "intersection_of",
    "judge_elsewhere",
    "kept_in",
    "kl_divergence",
    "label",
    "load_circuit",
    "load_model",
    "load_saes",
    "log_probability",
    "logit_difference",
    "matching_pursuit",
    "mean_logit_difference",
    "model_report",
    "pairs_in_text",
    "probability_difference",
    "prompt_pairs",
    "rank",
    "rank_nodes",
    "sae_sets",
    "save_circuit",
    "scale_error",
    "scale_feature",
    "set_error",
    "set_feature",
    "side_effect",
    "splice",
    "split_pairs",
    "steer",
    "threshold_rounding",
    "trial_of_sites",
    "union_of",
    "write_page",
]

_HOMES: Final[dict[str, tuple[str, ...]]] = {
    "attribution.checking.check": ("check",),
    "attribution.checking.dictionary_quality": ("dictionary_quality",),
    "attribution.checking.threshold_rounding": ("threshold_rounding",),
    "attribution.dictionaries": ("Pursuit", "gradient_pursuit", "matching_pursuit"),
    "attribution.chord.chord_integrated_gradients": ("chord_integrated_gradients",),
    "attribution.edges.explain_node": ("explain_node",),
    "attribution.effects.finite_pairs": ("finite_pairs",),
    "attribution.methods.attribution_patching": ("attribution_patching",),
    "attribution.methods.attribution_patching_star": ("attribution_patching_star",),
    "attribution.methods.exact_patching": ("exact_patching",),
    "attribution.methods.input_path_integrated_gradients": ("input_path_integrated_gradients",),
    "attribution.methods.integrated_gradients": ("integrated_gradients",),
    "attribution.prompts.metrics": (
        "kl_divergence",
        "log_probability",
        "logit_difference",
        "mean_logit_difference",
        "probability_difference",
    ),
    "attribution.runs.chunk_store": ("kept_in",),
    "attribution.splice.interventions": (
        "ablate_error",
        "ablate_feature",
        "add_to_error",
        "add_to_feature",
        "scale_error",
        "scale_feature",
        "set_error",
        "set_feature",
    ),
    "attribution.splice.edits": ("KEEP_ONLY", "REMOVE"),
    "circuits.ablation.ablation": ("ablate",),
    "circuits.ablation.causal_test": ("causal_test",),
    "circuits.ablation.causal_tests": ("FoundOn", "causal_tests"),
    "circuits.ablation.edits": ("Ablation",),
    "circuits.ranking.aggregate": ("rank_nodes",),
    "circuits.ablation.side_effect": ("side_effect",),
    "circuits.ablation.generation": ("continue_prompt",),
    "circuits.comparing.combine": ("intersection_of", "union_of"),
    "circuits.comparing.compare": ("compare",),
    "circuits.comparing.elsewhere": ("judge_elsewhere",),
    "circuits.comparing.side": ("Side",),
    "circuits.discovery.discover": ("discover", "discover_each"),
    "circuits.discovery.export": ("export",),
    "circuits.discovery.selection": ("Selection",),
    "attribution.checking.model_report": ("model_report",),
    "circuits.embedded.load": ("load_model", "load_saes", "sae_sets", "splice"),
    "circuits.faithfulness.faithfulness": ("faithfulness_report",),
    "circuits.features.feature_report": ("feature_report",),
    "circuits.features.search": ("find_features",),
    "circuits.labels.corpus": ("corpus_from_file", "embedded_corpus"),
    "circuits.labels.feature_labels": ("label",),
    "circuits.ranking.dataset": ("rank",),
    "circuits.selection.pair_parts": ("split_pairs",),
    "circuits.selection.trial_of_sites": ("trial_of_sites",),
    "circuits.steering.samples": ("Sampling",),
    "circuits.steering.steering": ("Steering",),
    "circuits.steering.sweep": ("steer",),
    "circuits.tasks.any_model.in_text": ("pairs_in_text",),
    "circuits.tasks.any_model.registry": ("ANY_TASKS",),
    "circuits.tasks.prompts": ("prompt_pairs",),
    "circuits.tasks.templates": ("SPLITS", "TASKS"),
    "graphs": ("certificate_lines", "load_circuit", "save_circuit", "write_page"),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = found  # the next look-up finds it at once
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _display_found(found: Any) -> MimeBundle:
    from circuits.discovery.notebook_view import found_view

    return found_view(found)


set_notebook_view("Found", _display_found)
