"""The types of the keys that are read of SAELens's cfg.json. In most places null is the same as a missing key."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from graphs.files.typed_content import FileContent

Stored = Literal["none", "expected_average_only_in", "layer_norm", "constant_norm_rescale"]
"""How a file says that activations were normalised."""
Size = Annotated[int, Field(gt=0, lt=2**31, description="a positive integer below 2^31")]
Hook = Annotated[str | None, Field(description="a hook's name, e.g. 'blocks.3.hook_mlp_out'")]
NoHead = Annotated[None, Field(description="null: SAEs of one head are not supported")]


class ActivationKwargs(FileContent):
    k: int | float | None = None


class Arithmetic(FileContent):
    """What the SAE computes: keys at the top of the file."""

    d_in: Size
    d_sae: Size
    architecture: str | None = None
    activation_fn: str | None = None
    activation_fn_str: str | None = None
    activation_fn_kwargs: ActivationKwargs | None = None
    k: int | float | None = None
    apply_b_dec_to_input: bool = True
    normalize_activations: Annotated[
        bool | Stored | None, Field(description=f"true, false or one of {', '.join(get_args(Stored))}")
    ] = None
    rescale_acts_by_decoder_norm: bool = False
    finetuning_scaling_factor: bool = False


class Place(FileContent):
    """Where the SAE lies: keys at the top or in `metadata`."""

    hook_name: Hook = None
    hook_point: Hook = None
    hook_head_index: NoHead = None
    hook_point_head_index: NoHead = None

    @property
    def site(self) -> str:
        """The hook's name, "" if there is none."""
        return self.hook_name or self.hook_point or ""


class Processing(FileContent):
    """What TransformerLens did to the model's weights; a missing key may mean either."""

    fold_ln: bool = False
    center_writing_weights: bool = False
    center_unembed: bool = False
    fold_value_biases: bool = False
    refactor_factored_attn_matrices: bool = False


class Training(Place):
    """What the SAE was trained on: keys at the top or in `metadata`."""

    model_name: str | None = None
    hook_layer: int | None = None
    hook_point_layer: int | None = None
    d_in: int | None = None
    d_out: int | None = None
    hook_name_out: str | None = None
    reshape_activations: Literal["none", "hook_z"] | None = None
    model_class_name: str | None = None
    model_from_pretrained_kwargs: Processing | None = None
    from_pretrained_kwargs: Processing | None = None
    sae_lens_version: str | None = None
    sae_lens_training_version: str | None = None
    seqpos_slice: Annotated[
        list[int | None] | None,
        Field(min_length=1, max_length=3, description="[stop], [start, stop] or [start, stop, step]"),
    ] = None
    context_size: int | None = None
    prepend_bos: bool | None = None


class WithMetadata(FileContent):
    """Where newer files keep keys of `Training`."""

    metadata: dict[str, Any] | None = None


class Scaler(FileContent):
    """activation_scaler.json."""

    scaling_factor: Annotated[float | None, Field(gt=0, description="a positive number")] = None
