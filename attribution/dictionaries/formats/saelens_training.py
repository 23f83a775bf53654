"""What cfg.json says of the activations that an SAE was trained on: of which model, at which hook and positions.

TransformerLens can change a model's weights as it opens it (`model_from_pretrained_kwargs`). Logits stay the same, up
to a constant. Some activations do not, and an SAE must be fed what it was trained on:

    center_writing_weights           the residual stream and what is added to it lose their mean: the SAE reads x − mean
                                     (normalisation "centred"); to layer_norm the mean is nothing
    fold_ln                          what the norms put out: refused there
    fold_value_biases                values and z lose the value biases: refused there
    refactor_factored_attn_matrices  queries, keys, values and z change their basis: refused there
    center_unembed                   no activation

A key that is missing means False, as in `from_pretrained_no_processing`. SAELens before 3.19.2 called
`from_pretrained`, where a missing key means True; a config without any `model_from_pretrained_kwargs` says nothing, and
counts as unprocessed, as in SAELens.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attribution.dictionaries.formats import SAEFileError
from attribution.dictionaries.formats.saelens_schema import Training
from attribution.dictionaries.kinds.normalisation import Normalisation
from attribution.dictionaries.kinds.trained_on import TrainedOn
from attribution.dictionaries.kinds.trained_positions import ALL_POSITIONS, TrainedPositions

CENTRE: Final = "center_writing_weights"
FOLD_VALUES: Final = "fold_value_biases"
REFACTOR: Final = "refactor_factored_attn_matrices"
PROCESSING: Final = ("fold_ln", CENTRE, "center_unembed", FOLD_VALUES, REFACTOR)
_DONE_BY_DEFAULT: Final = frozenset(PROCESSING) - {REFACTOR}
_NO_PROCESSING_SINCE: Final = (3, 19, 2)
_OF_NO_EFFECT: Final = """
    dtype torch_dtype device device_map n_devices n_ctx first_n_layers trust_remote_code local_files_only cache_dir
    token low_cpu_mem_usage attn_implementation move_to_device default_padding_side default_prepend_bos hf_model
    tokenizer
"""
_HARMLESS: Final = frozenset(_OF_NO_EFFECT.split())
"""Arguments of `from_pretrained` that change no activation of a prompt."""

_BLOCK: Final = r"blocks\.\d+\."
_PLACES: Final = (
    (rf"({_BLOCK})?hook_(embed|pos_embed|resid_pre|resid_mid|resid_post|attn_out|mlp_out|mlp_in)", {CENTRE}),
    (rf"{_BLOCK}(hook_in|hook_out|(attn|mlp)\.hook_out)", {CENTRE}),
    (rf"{_BLOCK}attn\.hook_(z|v)", {FOLD_VALUES, REFACTOR}),
    (rf"{_BLOCK}attn\.hook_(q|k|rot_q|rot_k)", {REFACTOR}),
    (rf"{_BLOCK}(mlp\.hook_(pre|pre_linear|post)|attn\.hook_(pattern|attn_scores))", set[str]()),
)
"""Sites, and the processing that changes their activations; that of any other site, by all but center_unembed."""


def processing_of(said: Training) -> frozenset[str]:
    """Which processing the model had in training."""
    own, older = said.model_from_pretrained_kwargs, said.from_pretrained_kwargs
    given = older if own is None else own
    if given is None:
        return frozenset()
    default = _DONE_BY_DEFAULT if _processed_by_default(said) else frozenset[str]()
    missing = default - given.model_fields_set
    return missing | {name for name in PROCESSING if getattr(given, name)}


def unknown_arguments(said: Mapping[str, Any]) -> tuple[str, ...]:
    """The arguments of `from_pretrained` that are not understood, such as another checkpoint of the model."""
    key = "model_from_pretrained_kwargs" if "model_from_pretrained_kwargs" in said else "from_pretrained_kwargs"
    given = said.get(key)
    names = {*given} if isinstance(given, dict) else set[str]()
    return tuple(f"{key}.{name}" for name in sorted(names - _HARMLESS - {*PROCESSING}))


def normalisation_at(site: str, own: Normalisation, processing: frozenset[str], file: Path) -> Normalisation:
    """The normalisation that feeds an SAE at `site` what it was trained on, from the raw model's activation.

    Raises:
        SAEFileError: no change of the activation does that.
    """
    everywhere = frozenset(PROCESSING) - {"center_unembed"}
    changing = next((found for place, found in _PLACES if re.fullmatch(place, site)), everywhere)
    changes = changing & processing
    if not changes or (changing == {CENTRE} and own == "layer_norm"):
        return own
    if changing == {CENTRE} and own == "none":
        return "centred"
    where = f"at {site!r}" if site else "at a hook that the file does not name (pass site=)"
    how = "" if own == "none" else f" and normalize_activations {own!r}"
    raise SAEFileError(
        file,
        f"trained with {', '.join(sorted(changes))}{how} {where}: the unprocessed model, which is measured, has other "
        "activations there, and no change of the SAE makes up for it. Use an SAE of the unprocessed model",
    )


def _processed_by_default(said: Training) -> bool:
    if said.model_class_name not in (None, "HookedTransformer"):
        return False
    version = said.sae_lens_training_version or said.sae_lens_version or ""
    match = re.match(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", version)
    return match is not None and tuple(map(int, match.groups())) < _NO_PROCESSING_SINCE


def trained_positions(said: Training, file: Path) -> TrainedPositions:
    """The positions of `seqpos_slice`; ends that count from the end of the context need `context_size`.

    Raises:
        SAEFileError: a slice that chooses nothing or cannot be resolved.
    """
    given, context = said.seqpos_slice, said.context_size
    if given is None:
        return ALL_POSITIONS
    chosen = slice(*given)
    if context is None and any(part is not None and part < 0 for part in (chosen.start, chosen.stop)):
        raise SAEFileError(file, f"seqpos_slice is {given!r}, counted from the end, and context_size is missing")
    if chosen.step is not None and chosen.step < 1:
        raise SAEFileError(file, f"seqpos_slice is {given!r}; expected a step of at least 1")
    start, stop, step = chosen.indices(context or 1 << 30)
    if start >= stop:
        raise SAEFileError(file, f"seqpos_slice is {given!r} and context_size {context}: no position is left")
    return TrainedPositions(start, None if stop >= (context or 1 << 30) else stop, step)


def trained_on(said: Training) -> TrainedOn:
    """The model, hook and layer that the file names."""
    layer = said.hook_point_layer if said.hook_layer is None else said.hook_layer
    return TrainedOn(said.model_name or "", said.site, layer)
