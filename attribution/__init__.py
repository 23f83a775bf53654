"""The measuring verbs, everything that needs the model: the parts, for those who build on them.

A session in Python starts from `circuits`. What is named here is imported when it is first used, so that `import
attribution` loads no torch.

- **Model and prompts**: `LanguageModel`, `PromptPairs`, `PromptPair`, `PairBatch`, `pair_stream`, `position_names`.
- **Metrics**: `Metric`, and `METRICS` by name: `logit_difference` and `mean_logit_difference` (logits),
  `log_probability` and `kl_divergence` (nats), `probability_difference`; `metric_named` finds those of your own too.
  `finite_pairs` leaves out pairs whose metric is no finite number, which every measurement refuses.
- **SAEs**: `SAE` and its kinds `ReLU`, `JumpReLU`, `Gated`, `TopK`, `BatchTopK`, `ProLU`; `load_sae`, `save_sae`,
  `load_gemma_scope`.
- **Codes without an encoder** (`Code`): `gradient_pursuit` (ITO), `matching_pursuit`; `refitted` coefficients of a
  given support; `novelty` of each choice. `Pursuit` is such a search as a kind of SAE. `splitting` finds features whose
  directions are codes of others (`Splitting`).
- **Splice**: `SplicedModel` with `Intervention`s; the operations `REMOVE` (nodes take their reference value) and
  `KEEP_ONLY` (all other nodes do). `ErrorMode` is what becomes of the SAEs' errors: `live`, `frozen`, `zero`, or `path`
  for path methods; `path_mode` gives a path method's mode for a comparison with exact patching.
- **What a node is patched with** (`PatchValue`): `counterfactual`, its value in the patch run; `zero`; `mean_over`
  prompts. **What stands outside a circuit** (`Reference`): by default the patch run's value; `Mean`, `Resample`.
- **Methods**, which give `Effects`: in `METHODS` by their names on the command line; `midpoint` and `gauss_legendre`
  are their points. `chord_attribution` also gives jumps and carried amounts (`ChordAttribution`).
- **Edges**: `chord_edges`, `gradient_edges`, `exact_edges`; `explain_node`, `direct_feature_attribution`.
- **Checking**: `check`, `with_details`, `own_paths`, `with_crossings`, `agreement`, `sae_quality`,
  `dictionary_quality`, `threshold_rounding`.
- **Runs**: `kept_in` keeps finished work on disk, `Room` fits batches into memory, `prepare` gives the clean run of a
  batch and its patch values (`Situation`).

Rooms, each importing only from those before it: `models`, `prompts`, `dictionaries`, `splice`, `runs`, `effects`,
`chord`, `cones`, `masks`, `methods`, `edges`, `checking`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from attribution.checking.agreement import agreement, pearson, spearman
    from attribution.checking.check import check
    from attribution.checking.dictionary_quality import dictionary_quality
    from attribution.checking.gate_crossings import with_crossings
    from attribution.checking.own_path import OwnPath, own_paths
    from attribution.checking.sae_quality import sae_quality
    from attribution.checking.threshold_rounding import threshold_rounding
    from attribution.checking.verdict_of import with_details
    from attribution.chord.chord_integrated_gradients import chord_attribution, chord_integrated_gradients
    from attribution.chord.chord_result import ChordAttribution
    from attribution.dictionaries import (
        SAE,
        BatchTopK,
        Code,
        Encoding,
        Gated,
        JumpReLU,
        ProLU,
        Pursuit,
        ReLU,
        SAEFileError,
        Splitting,
        TopK,
        gradient_pursuit,
        load_gemma_scope,
        load_sae,
        matching_pursuit,
        novelty,
        refitted,
        save_sae,
        splitting,
    )
    from attribution.edges.chord_edges import chord_edges
    from attribution.edges.direct_feature_attribution import direct_feature_attribution
    from attribution.edges.edges import Edges
    from attribution.edges.exact_edges import exact_edges
    from attribution.edges.explain_node import explain_node
    from attribution.edges.gradient_edges import gradient_edges
    from attribution.effects.effects import Effects
    from attribution.effects.finite_pairs import finite_pairs
    from attribution.effects.measurement import Situation, prepare
    from attribution.effects.quadrature import Quadrature, gauss_legendre, midpoint
    from attribution.methods.activation_difference import activation_difference
    from attribution.methods.attribution_patching import attribution_patching
    from attribution.methods.attribution_patching_star import attribution_patching_star
    from attribution.methods.exact_patching import exact_patching
    from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
    from attribution.methods.integrated_gradients import integrated_gradients
    from attribution.methods.registry import METHODS
    from attribution.models.language_model import LanguageModel
    from attribution.prompts.metric_names import metric_named
    from attribution.prompts.metrics import (
        METRICS,
        Metric,
        kl_divergence,
        log_probability,
        logit_difference,
        mean_logit_difference,
        probability_difference,
    )
    from attribution.prompts.pair_stream import pair_stream
    from attribution.prompts.position_names import position_names
    from attribution.prompts.prompt_pair import PromptPair
    from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
    from attribution.runs.chunk_store import kept_in
    from attribution.runs.memory import Room
    from attribution.splice.edits import KEEP_ONLY, REMOVE
    from attribution.splice.interventions import Intervention
    from attribution.splice.patch_values import PatchValue, counterfactual, mean_over, zero
    from attribution.splice.prompt_references import Mean, Resample
    from attribution.splice.recording import ErrorMode, path_mode
    from attribution.splice.references import Reference
    from attribution.splice.spliced_model import SplicedModel

__all__ = [
    "KEEP_ONLY",
    "METHODS",
    "METRICS",
    "REMOVE",
    "SAE",
    "BatchTopK",
    "ChordAttribution",
    "Code",
    "Edges",
    "Effects",
    "Encoding",
    "ErrorMode",
    "Gated",
    "Intervention",
    "JumpReLU",
    "LanguageModel",
    "Mean",
    "Metric",
    "OwnPath",
    "PairBatch",
    "PatchValue",
    "ProLU",
    "PromptPair",
    "PromptPairs",
    "Pursuit",
    "Quadrature",
    "ReLU",
    "Reference",
    "Resample",
    "Room",
    "SAEFileError",
    "Situation",
    "SplicedModel",
    "Splitting",
    "TopK",
    "activation_difference",
    "agreement",
    "attribution_patching",
    "attribution_patching_star",
    "check",
    "chord_attribution",
    "chord_edges",
    "chord_integrated_gradients",
    "counterfactual",
    "dictionary_quality",
    "direct_feature_attribution",
    "exact_edges",
    "exact_patching",
    "explain_node",
    "finite_pairs",
    "gauss_legendre",
    "gradient_edges",
    "gradient_pursuit",
    "input_path_integrated_gradients",
    "integrated_gradients",
    "kept_in",
    "kl_divergence",
    "load_gemma_scope",
    "load_sae",
    "log_probability",
    "logit_difference",
    "matching_pursuit",
    "mean_logit_difference",
    "mean_over",
    "metric_named",
    "midpoint",
    "novelty",
    "own_paths",
    "pair_stream",
    "path_mode",
    "pearson",
    "position_names",
    "prepare",
    "probability_difference",
    "refitted",
    "sae_quality",
    "save_sae",
    "spearman",
    "splitting",
    "threshold_rounding",
    "with_crossings",
    "with_details",
    "zero",
]

_HOMES: Final[dict[str, tuple[str, ...]]] = {
    "attribution.checking.agreement": (
        "agreement",
        "pearson",
        "spearman",
    ),
    "attribution.checking.check": ("check",),
    "attribution.checking.gate_crossings": ("with_crossings",),
    "attribution.checking.own_path": (
        "OwnPath",
        "own_paths",
    ),
    "attribution.checking.dictionary_quality": ("dictionary_quality",),
    "attribution.checking.sae_quality": ("sae_quality",),
    "attribution.checking.threshold_rounding": ("threshold_rounding",),
    "attribution.checking.verdict_of": ("with_details",),
    "attribution.chord.chord_integrated_gradients": (
        "chord_attribution",
        "chord_integrated_gradients",
    ),
    "attribution.chord.chord_result": ("ChordAttribution",),
    "attribution.dictionaries": (
        "SAE",
        "BatchTopK",
        "Code",
        "Encoding",
        "Gated",
        "JumpReLU",
        "ProLU",
        "Pursuit",
        "ReLU",
        "SAEFileError",
        "Splitting",
        "TopK",
        "gradient_pursuit",
        "load_gemma_scope",
        "load_sae",
        "matching_pursuit",
        "novelty",
        "refitted",
        "save_sae",
        "splitting",
    ),
    "attribution.edges.chord_edges": ("chord_edges",),
    "attribution.edges.direct_feature_attribution": ("direct_feature_attribution",),
    "attribution.edges.edges": ("Edges",),
    "attribution.edges.exact_edges": ("exact_edges",),
    "attribution.edges.explain_node": ("explain_node",),
    "attribution.edges.gradient_edges": ("gradient_edges",),
    "attribution.effects.effects": ("Effects",),
    "attribution.effects.finite_pairs": ("finite_pairs",),
    "attribution.effects.measurement": (
        "Situation",
        "prepare",
    ),
    "attribution.effects.quadrature": (
        "Quadrature",
        "gauss_legendre",
        "midpoint",
    ),
    "attribution.methods.activation_difference": ("activation_difference",),
    "attribution.methods.attribution_patching": ("attribution_patching",),
    "attribution.methods.attribution_patching_star": ("attribution_patching_star",),
    "attribution.methods.exact_patching": ("exact_patching",),
    "attribution.methods.input_path_integrated_gradients": ("input_path_integrated_gradients",),
    "attribution.methods.integrated_gradients": ("integrated_gradients",),
    "attribution.methods.registry": ("METHODS",),
    "attribution.models.language_model": ("LanguageModel",),
    "attribution.prompts.metric_names": ("metric_named",),
    "attribution.prompts.metrics": (
        "METRICS",
        "Metric",
        "kl_divergence",
        "log_probability",
        "logit_difference",
        "mean_logit_difference",
        "probability_difference",
    ),
    "attribution.prompts.pair_stream": ("pair_stream",),
    "attribution.prompts.position_names": ("position_names",),
    "attribution.prompts.prompt_pair": ("PromptPair",),
    "attribution.prompts.prompt_pairs": (
        "PairBatch",
        "PromptPairs",
    ),
    "attribution.runs.chunk_store": ("kept_in",),
    "attribution.runs.memory": ("Room",),
    "attribution.splice.edits": (
        "KEEP_ONLY",
        "REMOVE",
    ),
    "attribution.splice.interventions": ("Intervention",),
    "attribution.splice.patch_values": (
        "PatchValue",
        "counterfactual",
        "mean_over",
        "zero",
    ),
    "attribution.splice.prompt_references": (
        "Mean",
        "Resample",
    ),
    "attribution.splice.recording": (
        "ErrorMode",
        "path_mode",
    ),
    "attribution.splice.references": ("Reference",),
    "attribution.splice.spliced_model": ("SplicedModel",),
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
