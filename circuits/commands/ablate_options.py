"""What the user of `jumpwire ablate` chose; checked before anything is loaded."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuits.commands.find import PATCHES, refuse_unknown

if TYPE_CHECKING:
    from circuits.commands.ablate_inputs import CircuitFile

ERRORS = ("live", "frozen", "zero")


@dataclass(frozen=True)
class AblateOptions:
    """What is done to which nodes, and what is reported; None where a default stands."""

    nodes: tuple[str, ...] = ()
    circuit: str | None = None
    op: str | None = None
    test: bool = False
    text: str | None = None
    text_file: str | None = None
    generate: int = 0
    temperature: float = 0.0
    error: str | None = None
    patch: str | None = None
    metric: str | None = None
    per_pair: bool = False
    rows: int = 10
    out: str | None = None

    def __post_init__(self) -> None:
        if bool(self.nodes) == (self.circuit is not None):
            raise ValueError(
                "Name nodes, as in blocks.2.hook_resid_post/117@verb, or give --circuit FILE: one of them."
            )
        if self.test and (self.circuit is None or self.op or self.text is not None or self.generate):
            raise ValueError("--test knocks out the nodes of --circuit one by one: give no --op, --text or --generate.")
        if self.text_file is not None and not Path(self.text_file).is_file():
            raise FileNotFoundError(f"--text-file {self.text_file}: no such file.")
        if self.temperature and not self.generate:
            raise ValueError("--temperature belongs to --generate.")

    def settled(self, found: "CircuitFile | None") -> "AblateOptions":
        """With defaults: those of the circuit's effects where there is one."""
        from attribution.prompts.metrics import METRICS

        measured = None if found is None else found.circuit.measurement
        error = "live" if measured is None else {"path": "frozen"}.get(measured.error_mode, measured.error_mode)
        patch = "zero" if self.text is not None else "counterfactual" if measured is None else measured.patch_value
        metric = "logit_difference" if measured is None else measured.metric
        settled = replace(self, error=self.error or error, patch=self.patch or patch, metric=self.metric or metric)
        known = {"error": ERRORS, "patch": PATCHES, "metric": tuple(METRICS)}
        refuse_unknown({name: str(getattr(settled, name)) for name in known}, known)
        if self.text is not None and settled.patch == "counterfactual":
            raise ValueError("--text has no patch prompt: use --patch zero or mean.")
        return settled
