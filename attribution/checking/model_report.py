"""What a loaded model has proved, in a few lines: who runs it, which prompts may share a batch, what is fast."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from attribution.cones.plain_run import plain_run
from attribution.models.architectures import UnknownArchitecture, plain_model
from attribution.models.block_calls import BlockCall
from attribution.models.hooks import logits_with
from attribution.models.language_model import LanguageModel
from attribution.splice.recording import Recording
from graphs.short_repr import short_repr


@dataclass(frozen=True)
class ModelReport:
    """What a model has proved at load.

    Attributes:
        architecture: Hugging Face's class of the model; None for a model that was built in Python.
        backend: who runs its blocks: `transformer-lens`, `hugging-face`, or `as given` to Python.
        reason: why TransformerLens does not run it, where it was asked first; else None.
        logits_difference: the largest difference of the backend's logits from the Hugging Face model's, as a share of
            their spread; None for a model that was built in Python.
        lengths: which prompts cannot share a batch, in words; None if all can.
        resumes: patched runs start at the layer that they change; else all start at the tokens.
        no_cones: why exact patching runs whole blocks; None if it runs only positions that a change reaches.
        sites: every site that may be spliced, by kind: how many layers have it.
    """

    __repr__ = short_repr

    name: str
    architecture: str | None
    backend: str
    reason: str | None
    logits_difference: float | None
    n_layers: int
    d_model: int
    d_vocab: int
    parameters: int
    dtype: str
    lengths: str | None
    resumes: bool
    no_cones: str | None
    sites: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


def model_report(model: LanguageModel) -> ModelReport:
    """What the model has proved; proves it now if that was not done at load.

    Raises:
        ValueError: the model fails a proof.

    Examples:
        >>> report = model_report(load_model())
        >>> report.backend, report.resumes, report.lengths, report.no_cones
        ('transformer-lens', True, None, None)
    """
    proof, booted = model.proof, model.booted
    return ModelReport(
        name=model.name,
        architecture=None if booted is None else booted.architecture,
        backend=model.backend,
        reason=None if booted is None else booted.reason,
        logits_difference=None if booted is None else booted.difference,
        n_layers=model.n_layers,
        d_model=model.d_model,
        d_vocab=model.d_vocab,
        parameters=sum(p.numel() for p in model.module.parameters()),
        dtype=str(model.dtype).removeprefix("torch."),
        lengths=proof.lengths.in_words,
        resumes=proof.resumes,
        no_cones=_why_no_cones(model),
        sites=_sites(model),
    )


_KINDS = ("hook_resid_pre", "attn.hook_z", "hook_attn_out", "hook_mlp_out", "hook_resid_post")


def _sites(model: LanguageModel) -> dict[str, int]:
    names = set(model.hook_names())
    counts = {kind: sum(f"blocks.{n}.{kind}" in names for n in range(model.n_layers)) for kind in _KINDS}
    return {kind: count for kind, count in counts.items() if count}


def _why_no_cones(model: LanguageModel) -> str | None:
    """None if the model's blocks run as plain functions, with the numbers of a run of a few tokens."""
    ids = model.probe_ids()
    blocks: list[tuple[torch.Tensor, BlockCall]] = []
    last = torch.tensor([ids.shape[1] - 1], device=ids.device)
    with torch.no_grad(), model.frozen():
        logits = logits_with(model, ids, {}, blocks=blocks)
        if len(blocks) != model.n_layers:
            return "its blocks are not called one by one"
        recording = Recording(
            ids=ids,
            last=last,
            spliced=torch.zeros_like(ids, dtype=torch.bool),
            read=last,
            logits=logits[:, -1],
            entry=blocks[0][0],
            sites={},
            block_inputs=tuple(hidden for hidden, _ in blocks),
            block_calls=tuple(call for _, call in blocks),
        )
        try:
            plain_run(model, plain_model(model), recording)
        except (UnknownArchitecture, TypeError, AttributeError, IndexError, RuntimeError) as error:
            return str(error)
    return None
