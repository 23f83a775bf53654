"""What every command starts from: a model with SAEs spliced in, and prompt pairs; checked before anything is loaded."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attribution.dictionaries import SAE
    from attribution.models.language_model import LanguageModel
    from attribution.prompts.prompt_pairs import PromptPairs
    from attribution.splice.spliced_model import SplicedModel

DEFAULT_TASK = "agreement"
DEFAULT_EXAMPLES = 8
SMALL = 256
"""Models up to this width run on one thread."""


@dataclass(frozen=True)
class Inputs:
    """What the user chose; None where the default stands. Kept in run.json, so that a run can be made again."""

    task: str | None = None
    pairs: str | None = None
    split: str | None = None
    examples: int | None = None
    model: str | None = None
    saes: str | None = None
    splice_bos: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task is not None and self.pairs is not None:
            raise ValueError("Give --task or --pairs, not both.")
        if self.pairs is not None and not Path(self.pairs).is_file():
            raise FileNotFoundError(f"--pairs {self.pairs}: no such file.")
        if self.model is not None and self.saes is None:
            raise ValueError("--model needs --saes: SAEs trained on that model.")
        if self.pairs is not None and self.split is not None:
            raise ValueError("--split belongs to --task; a file of pairs has no splits.")

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> "Inputs":
        """From the arguments in run.json."""
        chosen: dict[str, Any] = {f.name: arguments[f.name] for f in fields(cls)}
        return cls(**chosen)

    def arguments(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @property
    def name(self) -> str:
        """The task's name, or that of the file of pairs."""
        return Path(self.pairs).stem if self.pairs is not None else self.task or DEFAULT_TASK

    def load(self) -> "Loaded":
        """Load the model and its SAEs, and make the prompts."""
        spliced = self.load_spliced()
        return self.with_prompts(spliced, self.prompts(spliced.model))

    def load_spliced(self) -> "SplicedModel":
        """Load the model and its SAEs."""
        from attribution.splice.spliced_model import SplicedModel

        model, saes = _model_and_saes(self.model, self.saes)
        _few_threads(model)
        return SplicedModel(model, saes, splice_bos=self.splice_bos)

    def with_prompts(self, spliced: "SplicedModel", prompts: "PromptPairs") -> "Loaded":
        """The loaded model with other prompts than the chosen ones."""
        return Loaded(spliced, prompts, all_hashes(spliced, prompts))

    def splits(self, model: "LanguageModel", count: int, held_out: str | None) -> "dict[str, PromptPairs]":
        """Other pairs to judge a circuit on: `count` of every other split of the task, and those of a file."""
        from attribution.prompts.prompt_pairs import PromptPairs
        from circuits.tasks.prompts import task_pairs
        from circuits.tasks.templates import SPLITS

        found: dict[str, PromptPairs] = {}
        if self.pairs is None and count > 0:
            others = [split for split in SPLITS if split != (self.split or "train")]
            found = {split: task_pairs(self.name, split, count, self.seed, model) for split in others}
        if held_out is not None:
            name = Path(held_out).stem
            if name in (*found, "own"):
                raise ValueError(f"--held-out {held_out}: a split {name!r} exists. Rename the file.")
            found[name] = PromptPairs.from_json(held_out, model)
        return found

    def prompts(self, model: "LanguageModel") -> "PromptPairs":
        """The prompt pairs that were chosen."""
        from attribution.prompts.prompt_pairs import PromptPairs
        from circuits.tasks.prompts import task_pairs

        if self.pairs is not None:
            return PromptPairs.from_json(self.pairs, model).head(self.examples)
        return task_pairs(self.name, self.split or "train", self.examples or DEFAULT_EXAMPLES, self.seed, model)


@dataclass(frozen=True)
class Loaded:
    """A spliced model, its prompts, and hashes of the model's and every SAE's weights and of the prompts."""

    spliced: "SplicedModel"
    prompts: "PromptPairs"
    hashes: Mapping[str, Any]


def _few_threads(model: "LanguageModel") -> None:
    """One thread for a small model on a CPU: beside other work, threads cost it several times what they share.

    OMP_NUM_THREADS says otherwise where it is set.
    """
    if model.device.type == "cpu" and model.d_model <= SMALL and "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(1)


def all_hashes(spliced: "SplicedModel", prompts: "PromptPairs") -> dict[str, Any]:
    """`weight_hashes`, and the hash of the prompts."""
    return {**weight_hashes(spliced), "prompts": prompts.digest()}


def weight_hashes(spliced: "SplicedModel") -> dict[str, Any]:
    """Hashes of the model's weights and of every SAE's."""
    return {"model": spliced.model.digest(), "saes": {site: sae.digest() for site, sae in spliced.saes.items()}}


def _model_and_saes(model: str | None, saes: str | None) -> "tuple[LanguageModel, dict[str, SAE]]":
    from attribution.dictionaries import load_saes
    from attribution.models.language_model import LanguageModel
    from circuits.embedded.load import DEFAULT_SAES, embedded_model, embedded_saes, sae_sets

    if model is None and (saes is None or saes in sae_sets()):
        found = embedded_saes(saes or DEFAULT_SAES)
    elif saes is not None and Path(saes).is_dir():
        found = load_saes(Path(saes))
    else:
        sets = f" Embedded sets: {', '.join(sae_sets())}." if model is None else ""
        raise FileNotFoundError(f"--saes {saes}: no such folder.{sets}")
    return (embedded_model() if model is None else LanguageModel.load(model)), found
