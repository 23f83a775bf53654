"""Load what a command works on: a model with SAEs spliced in, and prompt pairs. The options are in `options.py`."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from circuits.commands.shared.options import DEFAULT_EXAMPLES, DEFAULT_TASK, ModelOptions, PromptOptions
from circuits.embedded.sets import DEFAULT_SAES, EMBEDDED, sae_sets
from circuits.tasks.registry import is_embedded, splits_of
from circuits.tasks.templates import SPLITS, text_pairs
from circuits.terminal.layer_ranges import layers_of
from graphs.words.site_words import kept_in_words

if TYPE_CHECKING:
    from attribution.dictionaries import SAE
    from attribution.models.language_model import LanguageModel
    from attribution.models.loading import Backend
    from attribution.prompts.metrics import Metric
    from attribution.prompts.prompt_pairs import PromptPairs
    from attribution.splice.spliced_model import SplicedModel
    from circuits.selection.pair_parts import PairParts

TEST_SPLIT: Final = "test"
"""The name of a file's pairs that judge the circuit."""
SMALL: Final = 256
"""Models up to this width run on one thread."""


@dataclass(frozen=True)
class ModelInputs(ModelOptions):
    """The model and its SAEs."""

    def load_spliced(self, model: "LanguageModel | None" = None) -> "SplicedModel":
        """Load the model, unless it is given, and its SAEs; those outside the chosen sites and layers are not read.

        Raises:
            LookupError: no SAE is at a site of `sites`; the message lists what there is.
            ValueError: no SAE is in `layers`, or `from_layer` leaves nothing, or everything.
        """
        from attribution.runs.memory import give_back_freed_memory
        from attribution.splice.spliced_model import SplicedModel

        silence_transformers()
        give_back_freed_memory()
        model, saes = self._model_and_saes(model)
        limit_threads(model)
        spliced = SplicedModel(model, saes, splice_bos=self.splice_bos)
        return spliced if self.from_layer is None else spliced.from_layer(self.from_layer)

    @property
    def source_of_saes(self) -> str | Path:
        """The embedded set, or the folder; another model has no embedded ones."""
        if self.embedded and self.saes in (None, *sae_sets()):
            return self.saes or DEFAULT_SAES
        return Path(self.saes or "")

    def refuse_no_text(self, why: str, flag: str, file: str | None) -> None:
        """Refuse a model of the user's own without a text file, which only the embedded model has a default for."""
        if file is None and not self.embedded:
            raise ValueError(
                f"{why}, and there is none for {self.model}: give {flag}, a text file with one document per line, or "
                "JSONL with `text`."
            )

    def refuse_unreadable(self) -> None:
        """Refuse, without loading anything, a model and SAEs that are not there.

        Raises:
            FileNotFoundError: they are not, or the model is on a hub that cannot be reached.
            SAEFileError: the folder holds no SAEs, or a damaged description of one.
        """
        source = self.source_of_saes
        if isinstance(source, Path) and not source.is_dir():
            sets = f" Embedded sets: {', '.join(sae_sets())}." if self.embedded else ""
            raise FileNotFoundError(f"{self.flag_of_saes} {self.saes}: no such folder.{sets}")
        if not self.embedded:
            refuse_missing_model(str(self.model))
        if isinstance(source, Path):
            from attribution.dictionaries.load import saes_in

            saes_in(source)

    def _model_and_saes(self, model: "LanguageModel | None") -> "tuple[LanguageModel, dict[str, SAE]]":
        from circuits.embedded.load import load_model, load_saes

        bos: Any = self.bos
        model = model or load_model(self.model or EMBEDDED, backend=cast("Backend", self.backend), bos=bos)
        saes = load_saes(
            self.source_of_saes,
            sites=None if self.sites is None else self.names_of_sites,
            layers=None if self.layers is None else layers_of(self.layers),
            canonical=model.canonical,
        )
        return model, saes


@dataclass(frozen=True)
class Inputs(ModelInputs, PromptOptions):
    """The model, its SAEs and the prompt pairs; None where the user left the default.

    The arguments are kept in run.json, so that other commands load the same again.
    """

    def __post_init__(self) -> None:
        PromptOptions.__post_init__(self)
        ModelOptions.__post_init__(self)

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> "Inputs":
        """From the arguments in run.json; a default stands for those that an older run does not have."""
        chosen: dict[str, Any] = {f.name: arguments[f.name] for f in fields(cls) if f.name in arguments}
        return cls(**chosen)

    def arguments(self) -> dict[str, Any]:
        """As plain data, for run.json."""
        return asdict(self)

    @property
    def name(self) -> str:
        """The task's name, or that of the file of pairs; `prompt` for one prompt."""
        if self.prompt is not None:
            return "prompt"
        return Path(self.pairs).stem if self.pairs is not None else self.task or DEFAULT_TASK

    def load(self, metric: "Metric") -> "Loaded":
        """Load the model and its SAEs, and make the prompts; all that are kept have a finite metric.

        Raises:
            UnfinitePairs: pairs without, unless `skip_bad_pairs` leaves them out.
        """
        spliced = self.load_spliced()
        return self.loaded(spliced, metric)

    def loaded(self, spliced: "SplicedModel", metric: "Metric") -> "Loaded":
        """As `load`, with a model that is loaded."""
        prompts, bad = self._finite(self.prompts(spliced.model), spliced.model, metric)
        return Loaded(spliced, prompts, bad)

    def _finite(
        self, pairs: "PromptPairs", model: "LanguageModel", metric: "Metric"
    ) -> "tuple[PromptPairs, dict[int, str]]":
        from attribution.effects.finite_pairs import finite_pairs, refuse_unfinite

        if self.skip_bad_pairs:
            return finite_pairs(model, pairs, metric)
        refuse_unfinite(model, pairs, metric)
        return pairs, {}

    def prompts(self, model: "LanguageModel") -> "PromptPairs":
        """The prompt pairs, tokenised for `model`."""
        from attribution.prompts.pair_file import read_pairs
        from circuits.tasks.prompts import prompt_pairs, task_pairs

        if self.prompt is not None:
            return prompt_pairs([self._row()], model)
        if self.pairs is not None:
            return read_pairs(self.pairs, model).head(self.examples)
        count = self.examples or DEFAULT_EXAMPLES
        return task_pairs(self.name, self.split or SPLITS[0], count, self.seed, model, at_most=True)

    def refuse_unreadable(self) -> None:
        """As for the model and its SAEs; and refuse pairs that no tokenizer can make usable.

        Raises:
            ValueError: a row of the file is wrong, or the task has fewer pairs.
        """
        super().refuse_unreadable()
        if self.in_embedded_language:
            text_pairs(self.name, self.split or SPLITS[0], self.examples or DEFAULT_EXAMPLES, self.seed)
        if self.pairs is not None:
            from attribution.prompts.pair_file import refuse_bad_pairs

            refuse_bad_pairs(self.pairs, self.examples)

    @property
    def in_embedded_language(self) -> bool:
        """Whether the prompts are known to be a task of the embedded language before its model is loaded."""
        return self.of_a_task and is_embedded(self.name, self.embedded)

    def other_splits(self, count: int, held_out: str | None, speaks_embedded: bool | None = None) -> tuple[str, ...]:
        """The other splits of the task that judge a circuit on `count` pairs of each.

        `speaks_embedded` says whether the model has the vocabulary of the embedded language; None before it is loaded.

        Raises:
            ValueError: the file of held-out pairs is named like one of them.
        """
        found: tuple[str, ...] = ()
        if self.of_a_task and count > 0:
            splits = splits_of(self.name, self.embedded if speaks_embedded is None else speaks_embedded)
            found = tuple(split for split in splits if split != (self.split or SPLITS[0]))
        if held_out is not None and (name := Path(held_out).stem) in (*found, "own"):
            raise ValueError(f"--held-out {held_out}: there is already a split called {name!r}. Rename the file.")
        return found

    def _row(self) -> dict[str, str]:
        """The one prompt as a row of a file."""
        pair = {"clean": self.prompt, "patch": self.counterfactual}
        given = {**({"prompt": self.prompt} if self.counterfactual is None else pair), "answer": self.answer}
        return {key: text for key, text in {**given, "wrong": self.wrong}.items() if text is not None}

    def other_prompts(
        self, model: "LanguageModel", count: int, held_out: str | None, metric: "Metric"
    ) -> "dict[str, PromptPairs]":
        """Pairs to judge a circuit on, by name: `count` of each other split of the task, and those of a file.

        Their metric is finite: others are left out with `skip_bad_pairs`, else a ValueError names them. A split that
        the tokenizer cannot write is left out with a warning.
        """
        from attribution.prompts.pair_file import read_pairs
        from circuits.tasks.any_model.writing import TaskRefused
        from circuits.tasks.prompts import speaks_embedded, task_pairs

        found: dict[str, PromptPairs] = {}
        for split in self.other_splits(count, held_out, speaks_embedded(model)):
            try:
                found[split] = task_pairs(self.name, split, count, self.seed, model, at_most=True)
            except TaskRefused as error:
                warnings.warn(f"{error} The circuit is not judged on it.", stacklevel=2)
        if held_out is not None:
            found[Path(held_out).stem] = read_pairs(held_out, model)
        for name, pairs in found.items():
            try:
                found[name], _ = self._finite(pairs, model, metric)
            except ValueError as error:
                raise ValueError(f"Pairs of {name!r}, which judge the circuit: {error}") from error
        return found

    def parted(
        self, loaded: "Loaded", judging: "Mapping[str, PromptPairs]", *, validation: float, test: float
    ) -> "tuple[Loaded, OtherPairs]":
        """What finds the circuit, and the other pairs.

        A task has splits with other words, which are in `judging`: a share of the first of them chooses the size, the
        rest judges. A file is cut; a share of it judges unless `judging` does.
        """
        if self.of_a_task:
            first = next(iter(judging), None)
            if first is None or not validation:
                return loaded, OtherPairs(None, judging)

            from circuits.selection.pair_parts import split_pairs

            cut = split_pairs(judging[first], validation=validation, by_words=True, seed=self.seed, fewest=12)
            return loaded, OtherPairs(cut.validation, {**judging, first: cut.train})
        cut = self.file_parts(loaded.prompts, validation, 0.0 if judging else test)
        if cut.test is not None:
            judging = {TEST_SPLIT: cut.test}
        return replace(loaded, prompts=cut.train), OtherPairs(cut.validation, judging)

    def file_parts(self, prompts: "PromptPairs", validation: float, test: float) -> "PairParts":
        """The pairs of a file, cut into what finds a circuit, what chooses its size and what judges it."""
        from circuits.selection.pair_parts import split_pairs

        return split_pairs(prompts, validation=validation, test=test, seed=self.seed)


@dataclass(frozen=True)
class OtherPairs:
    """Pairs that do not find the circuit: those that choose its size, and those that judge it, by name."""

    validation: "PromptPairs | None" = None
    judging: "Mapping[str, PromptPairs]" = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """A spliced model and its prompts, and by its number what was wrong with each pair that was left out."""

    spliced: "SplicedModel"
    prompts: "PromptPairs"
    left_out: "Mapping[int, str]" = field(default_factory=dict)

    @property
    def model_in_words(self) -> str:
        """The model's name, with the layers that are kept as they are."""
        kept = kept_in_words(self.spliced.boundary)
        return self.spliced.model.name + ("" if kept is None else f", {kept}")

    def answers(self) -> list[dict[str, Any]]:
        """The answers and foils of each pair as text, one list of tokens each; `predicted` if they are the model's."""
        text = self.spliced.model.token_text
        return [
            {
                "answers": [[text(token) for token in answer] for answer in pair.every_answer],
                "wrong": [[text(token) for token in foil] for foil in pair.every_foil],
                "predicted": pair.predicted,
            }
            for pair in self.prompts
        ]

    @property
    def answers_in_words(self) -> str | None:
        """What the pairs' answers are, where they are not one token each; None where they are."""
        from attribution.prompts.answer_kinds import AnswerKinds

        kinds = AnswerKinds()
        for pair in self.prompts:
            kinds.add(pair)
        return kinds.in_words()

    @property
    def left_out_in_words(self) -> str | None:
        """Which pairs were left out and why; None if none were."""
        each = "; ".join(f"pair {row}: {fault}" for row, fault in sorted(self.left_out.items()))
        return f"Left out, because the metric is not finite: {each}." if each else None

    @property
    def opening(self) -> dict[str, Any]:
        """What opens prompts, and why, for run.json."""
        opening = self.spliced.model.opening
        text = None if opening.token_id is None else self.spliced.model.token_text(opening.token_id)
        return {"token": text, "id": opening.token_id, "reason": opening.reason, "spliced": self.spliced.splice_bos}

    def hashes(self) -> dict[str, Any]:
        """Those of the model and the SAEs (`SplicedModel.hashes`), and under `prompts` that of the prompts."""
        return {**self.spliced.hashes(), "prompts": self.prompts.digest()}


def refuse_missing_model(name_or_folder: str) -> None:
    """A FileNotFoundError if there is no such folder, and no such name in the cache or on a hub that answers."""
    from attribution.models.hub import model_folder

    def hub_name(name: str) -> str:
        from attribution.models import loading

        return loading.hub_name(name)

    model_folder(name_or_folder, hub_name)


def silence_transformers() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def limit_threads(model: "LanguageModel") -> None:
    """One thread for a small model on a CPU: its operations are too short to share, and more threads slow them down.

    An OMP_NUM_THREADS in the environment is respected.
    """
    if model.device.type == "cpu" and model.d_model <= SMALL and "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(1)
