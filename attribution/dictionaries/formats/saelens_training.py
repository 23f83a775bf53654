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


def processing_of(said: Mapping[str, Any], file: Path) -> frozenset[str]:
    """Which processing the model had in training.

    Raises:
        SAEFileError: the arguments are no object, or one of the processing is neither true nor false.
    """
    key, given = _arguments(said)
    if given is None:
        return frozenset()
    if not isinstance(given, dict):
        raise SAEFileError(file, f"{key} is {given!r}; expected an object")
    for name in PROCESSING:
        if not isinstance(given.get(name, False), bool):
            raise SAEFileError(file, f"{key}.{name} is {given[name]!r}; expected true or false")
    default = _DONE_BY_DEFAULT if _processed_by_default(said) else frozenset[str]()
    return frozenset(name for name in PROCESSING if given.get(name, name in default))


def unknown_arguments(said: Mapping[str, Any]) -> tuple[str, ...]:
    """The arguments of `from_pretrained` that are not understood, such as another checkpoint of the model."""
    key, given = _arguments(said)
    names = {*given} if isinstance(given, dict) else set[str]()
    return tuple(f"{key}.{name}" for name in sorted(names - _HARMLESS - {*PROCESSING}))


def _arguments(said: Mapping[str, Any]) -> tuple[str, Any]:
    key = "model_from_pretrained_kwargs" if "model_from_pretrained_kwargs" in said else "from_pretrained_kwargs"
    return key, said.get(key)


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


def _processed_by_default(said: Mapping[str, Any]) -> bool:
    if said.get("model_class_name", "HookedTransformer") != "HookedTransformer":
        return False
    version = str(said.get("sae_lens_training_version") or said.get("sae_lens_version") or "")
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return match is not None and tuple(map(int, match.groups())) < _NO_PROCESSING_SINCE


def trained_positions(said: Mapping[str, Any], file: Path) -> TrainedPositions:
    """The positions of `seqpos_slice`; ends that count from the end of the context need `context_size`.

    Raises:
        SAEFileError: no slice, or one that chooses nothing or cannot be resolved.
    """
    given = said.get("seqpos_slice")
    if given is None:
        return ALL_POSITIONS
    good = isinstance(given, list | tuple) and 1 <= len(given) <= 3 and all(_whole(part) for part in given)
    if not good:
        raise SAEFileError(file, f"seqpos_slice is {given!r}; expected [stop], [start, stop] or [start, stop, step]")
    chosen = slice(*given)
    context = said.get("context_size")
    from_the_end = any(part is not None and part < 0 for part in (chosen.start, chosen.stop))
    if isinstance(context, bool) or not isinstance(context, int):
        if from_the_end:
            raise SAEFileError(file, f"seqpos_slice is {given!r}, counted from the end, and context_size is missing")
        context = None
    if chosen.step is not None and chosen.step < 1:
        raise SAEFileError(file, f"seqpos_slice is {given!r}; expected a step of at least 1")
    start, stop, step = chosen.indices(context or 1 << 30)
    if start >= stop:
        raise SAEFileError(file, f"seqpos_slice is {given!r} and context_size {context}: no position is left")
    return TrainedPositions(start, None if stop >= (context or 1 << 30) else stop, step)


def opens_with_bos(said: Mapping[str, Any], file: Path) -> bool | None:
    """`prepend_bos`; None where the file does not say."""
    found = said.get("prepend_bos")
    if found is not None and not isinstance(found, bool):
        raise SAEFileError(file, f"prepend_bos is {found!r}; expected true or false")
    return found


def trained_on(said: Mapping[str, Any]) -> TrainedOn:
    """The model, hook and layer that the file names; what is of another type names nothing."""
    model, hook = said.get("model_name"), said.get("hook_name") or said.get("hook_point")
    layer = said.get("hook_layer", said.get("hook_point_layer"))
    return TrainedOn(
        model if isinstance(model, str) else "",
        hook if isinstance(hook, str) else "",
        layer if isinstance(layer, int) and not isinstance(layer, bool) else None,
    )


def _whole(part: Any) -> bool:
    return part is None or (isinstance(part, int) and not isinstance(part, bool))
