"""F of two circuits on two tasks: each on its own, and each on the other's.

A task is the pairs that judge its circuit, with that circuit's metric and reference, so that both circuits are measured
on one scale there. Each circuit is kept in its own model; where the models differ and the SAEs are the same, as for a
base and a tuned model, also in the other's, on the other's task.
"""

from collections.abc import Iterator

from attribution.prompts.metric_names import metric_named
from attribution.runs.progress import Progress, progress_between
from circuits.comparing.side import Side
from circuits.faithfulness.bootstrap import Bootstrap
from circuits.faithfulness.faithfulness import faithfulness_report
from circuits.ranking.question import reference_named
from graphs.comparison import TaskFaithfulness, Which
from graphs.faithfulness import Faithfulness


def cross_faithfulness(
    a: Side, b: Side, bootstrap: Bootstrap, batch_size: int, progress: Progress
) -> tuple[tuple[TaskFaithfulness, ...], dict[str, str]]:
    """What could be measured, and what could not, with the reasons."""
    found: list[TaskFaithfulness] = []
    missing: dict[str, str] = {}
    cases = list(_cases(a, b))
    for n, (circuit, model, task) in enumerate(cases):
        sides: dict[Which, Side] = {"a": a, "b": b}
        what = f"F of {sides[circuit].name} on the task of {sides[task].name}"
        what += "" if model == circuit else f" in the model of {sides[model].name}"
        told = progress_between(progress, n / len(cases), (n + 1) / len(cases))
        try:
            measured = _measured(sides[circuit], sides[model], sides[task], bootstrap, batch_size, told)
            found.append(TaskFaithfulness(circuit, model, task, measured))
        except (ValueError, LookupError) as error:
            missing[what] = str(error.args[0])
    return tuple(found), missing


def _cases(a: Side, b: Side) -> Iterator[tuple[Which, Which, Which]]:
    """Circuit, model, task."""
    both: tuple[Which, Which] = ("a", "b")
    for task in both:
        for circuit in both:
            yield circuit, circuit, task
    if _same_saes_in_other_models(a, b):
        yield "a", "b", "b"
        yield "b", "a", "a"


def _same_saes_in_other_models(a: Side, b: Side) -> bool:
    if a.spliced is None or b.spliced is None:
        return False
    one, two = a.spliced.hashes(), b.spliced.hashes()
    sites = {*a.circuit.sites, *b.circuit.sites}
    return one["model"] != two["model"] and all(
        site in one["saes"] and one["saes"][site] == two["saes"].get(site) for site in sites
    )


def _measured(
    circuit: Side, model: Side, task: Side, bootstrap: Bootstrap, batch_size: int, progress: Progress
) -> Faithfulness:
    if model.spliced is None:
        raise ValueError(f"{model.name} was given without its model.")
    if task.judging is None:
        raise ValueError(f"{task.name} was given without pairs that judge it.")
    asked = task.circuit.measurement
    task.judging.check_fits(model.spliced.model, splice_bos=model.spliced.splice_bos)
    (found,) = faithfulness_report(
        model.spliced,
        {task.name: task.judging},
        metric_named(asked.metric),
        circuit.circuit,
        reference=reference_named(asked.patch_value),
        bootstrap=bootstrap,
        batch_size=batch_size,
        progress=progress,
    )
    return found
