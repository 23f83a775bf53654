"""The command line: `jumpwire find | check | rank | ablate | labels | export`.

Heavy imports wait until a command runs: help is instant.
"""

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from circuits.commands import ablate as ablate_command
from circuits.commands import check as check_command
from circuits.commands import find as find_command
from circuits.commands import labels as labels_command
from circuits.commands import rank as rank_command
from circuits.commands.ablate_options import AblateOptions
from circuits.commands.inputs import Inputs
from circuits.terminal.amounts import bytes_of, seconds_of
from circuits.terminal.console import errors_for_people

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Attribution and circuit discovery over SAE features that can be trusted.",
)

Task = Annotated[str | None, typer.Option(help="agreement (default), pronoun, indirect_object or closing.")]
Pairs = Annotated[Path | None, typer.Option(help="JSON file with prompt pairs of your own.")]
Split = Annotated[str | None, typer.Option(help="train (default), held_out, out_of_distribution.")]
Examples = Annotated[int | None, typer.Option(min=1, help="Pairs used. Default: 8 of a task, a whole file.")]
Model = Annotated[str | None, typer.Option(help="Model name or Hugging Face folder. Default: embedded.")]
Saes = Annotated[str | None, typer.Option(help="Folder of SAELens folders, or an embedded set.")]
SpliceBos = Annotated[bool, typer.Option("--splice-bos", help="Splice the BOS position too.")]
Seed = Annotated[int, typer.Option(help="Seed of the task's prompts.")]
Error = Annotated[
    str | None, typer.Option(help="SAE errors: live, frozen, zero or path. Default: live; ig-input, chord-ig: path.")
]
Points = Annotated[int | None, typer.Option(min=1, help="Points of the path (ig, ig-input: default 5; chord-ig: 10).")]
Rule = Annotated[
    str | None, typer.Option(help="midpoint or gauss_legendre. Default: midpoint; chord-ig: gauss_legendre.")
]
Memory = Annotated[
    str | None, typer.Option(help="Held at once beside the weights (500M, 2G). Default: half of what is free.")
]
NoResume = Annotated[
    bool, typer.Option("--no-resume", help="Measure again what an interrupted or earlier run kept beside its files.")
]
FIND_EXAMPLES = 100
METRIC_HELP = "logit_difference, log_probability or kl_divergence."
PATCH_HELP = "What nodes are set to: counterfactual, zero or mean."


@app.callback()
def _main() -> None:
    """Attribution and circuit discovery over SAE features that can be trusted."""


@app.command()
def find(
    task: Task = None,
    pairs: Pairs = None,
    split: Split = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Pairs used. Default: 100 of a task, a whole file.")
    ] = None,
    model: Model = None,
    saes: Saes = None,
    method: Annotated[
        str, typer.Option(help="auto, exact, atp, atp-star, ig, ig-input, chord-ig or activation-difference.")
    ] = "auto",
    error: Error = None,
    patch: Annotated[str, typer.Option(help=PATCH_HELP)] = "counterfactual",
    metric: Annotated[str, typer.Option(help=METRIC_HELP)] = "logit_difference",
    points: Points = None,
    rule: Rule = None,
    budget: Annotated[
        str, typer.Option(help="Time with auto (90s, 5m, 2h): exact if it fits, else screen, and verify what fits.")
    ] = "5m",
    verify: Annotated[
        int | None,
        typer.Option(min=1, help="Nodes patched to verify an estimate. Default: see --budget."),
    ] = None,
    memory: Memory = None,
    faithful: Annotated[
        float | None, typer.Option(help="Keep the fewest nodes with this faithfulness. Default: 0.85.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Instead: keep the strongest so many nodes.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Instead: keep nodes with at least this |effect|.")] = None,
    share: Annotated[
        float | None, typer.Option(help="Instead: keep the fewest nodes that carry this share of Σ|effect|.")
    ] = None,
    rank_by: Annotated[
        str | None,
        typer.Option(help="Method that ranks nodes. Default: chord-ig with --faithful, else --method."),
    ] = None,
    least_edge: Annotated[float, typer.Option(help="Edges below this share of the total effect go.")] = 0.002,
    per_pair: Annotated[bool, typer.Option("--per-pair", help="A circuit for every pair, not one of all.")] = False,
    held_out: Annotated[Path | None, typer.Option(help="File of other pairs that the circuit is judged on.")] = None,
    other_examples: Annotated[
        int, typer.Option(min=0, help="Pairs of each other split of a task that the circuit is judged on.")
    ] = 100,
    text: Annotated[
        Path | None, typer.Option(help="General text: SAEs are judged and features labelled on it (or .jsonl).")
    ] = None,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Do not say what features are. Never said with --per-pair.")
    ] = False,
    explained: Annotated[
        int, typer.Option(min=0, help="Nodes of the circuit about which IG is wrong, walked for the cause.")
    ] = 10,
    no_resume: NoResume = False,
    splice_bos: SpliceBos = False,
    rows: Annotated[int, typer.Option(min=1, help="Nodes in the printed table.")] = 15,
    out: Annotated[Path | None, typer.Option(help="Folder for the files. Default: out/<task or file>.")] = None,
    seed: Seed = 0,
) -> None:
    """Find a circuit: the effect of every feature, error and token on a task, and the strongest of them."""
    with errors_for_people():
        if examples is None and pairs is None:
            examples = FIND_EXAMPLES
        inputs = Inputs(task, _text(pairs), split, examples, model, saes, splice_bos, seed)
        options = find_command.FindOptions(
            method=method,
            error=error,
            patch=patch,
            metric=metric,
            points=points,
            rule=rule,
            budget=seconds_of(budget),
            verify=verify,
            memory=None if memory is None else bytes_of(memory),
            nodes=nodes,
            threshold=threshold,
            share=share,
            faithful=faithful,
            rank_by=rank_by,
            least_edge=least_edge,
            per_pair=per_pair,
            held_out=_text(held_out),
            other_examples=other_examples,
            text=_text(text),
            labels=not no_labels,
            explained=explained,
            resume=not no_resume,
            rows=rows,
            out=_text(out),
        )
        find_command.find(Console(), inputs, options)


@app.command()
def check(
    run: Annotated[Path | None, typer.Argument(help="Folder of a run of find: its estimate, or its truth.")] = None,
    task: Task = None,
    pairs: Pairs = None,
    split: Split = None,
    examples: Examples = None,
    model: Model = None,
    saes: Saes = None,
    method: Annotated[
        str | None,
        typer.Option(help="The estimate: atp, atp-star, ig (default), ig-input or chord-ig."),
    ] = None,
    error: Error = None,
    patch: Annotated[str | None, typer.Option(help=f"{PATCH_HELP} Default: counterfactual.")] = None,
    metric: Annotated[str | None, typer.Option(help=f"{METRIC_HELP} Default: the first.")] = None,
    points: Points = None,
    rule: Rule = None,
    verify: Annotated[
        int | None, typer.Option(min=1, help="Nodes verified exactly: strongest, at risk, audit. Default: all.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="From here on an effect is large. Default: 1% of the median |total effect|.")
    ] = None,
    audit_seed: Annotated[int, typer.Option(help="Seed of the random audit.")] = 0,
    explained: Annotated[int, typer.Option(min=0, help="Flagged nodes walked along their paths for the cause.")] = 20,
    fail_on: Annotated[
        list[str], typer.Option(help="Exit with 1 on: any, sign_flip, missed, phantom, wrong_size; may be repeated.")
    ] = ["never"],  # noqa: B006  (typer makes a new list)
    no_resume: NoResume = False,
    splice_bos: SpliceBos = False,
    rows: Annotated[int, typer.Option(min=1, help="Nodes in the printed table.")] = 15,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files. Default: the run's, or out/<task>-check.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Check an estimate against exact patching: where it is wrong, why, and what may have been missed."""
    with errors_for_people():
        inputs = Inputs(task, _text(pairs), split, examples, model, saes, splice_bos, seed)
        options = check_command.CheckOptions(
            run=_text(run),
            method=method,
            error=error,
            patch=patch,
            metric=metric,
            points=points,
            rule=rule,
            verify=verify,
            threshold=threshold,
            audit_seed=audit_seed,
            explained=explained,
            fail_on=tuple(fail_on),
            resume=not no_resume,
            rows=rows,
            out=_text(out),
        )
        failed = check_command.check(Console(), inputs, options)
    if failed:
        raise typer.Exit(1)


@app.command()
def labels(
    features: Annotated[
        list[str] | None, typer.Argument(help="Features by name: blocks.2.hook_resid_post/117 ...")
    ] = None,
    circuit: Annotated[Path | None, typer.Option(help="A circuit.json of find: label its features.")] = None,
    model: Model = None,
    saes: Saes = None,
    splice_bos: SpliceBos = False,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Text file with one document per line, or JSONL with `text`. Default: embedded text."),
    ] = None,
    mine: Annotated[Path | None, typer.Option(help="Your own labels, JSON or JSONL; they win.")] = None,
    contexts: Annotated[int, typer.Option(min=1, help="Contexts kept of each feature.")] = 8,
    shown: Annotated[int, typer.Option(min=0, help="Contexts printed of each feature.")] = 3,
    rows: Annotated[int, typer.Option(min=1, help="Features printed.")] = 15,
    cache: Annotated[Path, typer.Option(help="Folder that remembers labels.")] = Path("out/label_cache"),
    out: Annotated[
        Path | None, typer.Option(help="File for the labels. Default: labels.json beside the circuit, or in out.")
    ] = None,
) -> None:
    """What features are: top contexts, promoted tokens, and for attention outputs the heads that write them."""
    with errors_for_people():
        options = labels_command.LabelsOptions(
            features=tuple(features or ()),
            circuit=_text(circuit),
            corpus=_text(corpus),
            mine=_text(mine),
            contexts=contexts,
            rows=rows,
            shown=shown,
            cache=str(cache),
            out=_text(out),
        )
        labels_command.labels(Console(), Inputs(model=model, saes=saes, splice_bos=splice_bos), options)


@app.command()
def rank(
    task: Task = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Prompt pairs of your own: JSON, or JSONL, which is read as it is needed.")
    ] = None,
    split: Split = None,
    examples: Examples = None,
    model: Model = None,
    saes: Saes = None,
    method: Annotated[
        str, typer.Option(help="exact, atp, atp-star, ig, ig-input, chord-ig or activation-difference.")
    ] = "chord-ig",
    error: Error = None,
    patch: Annotated[str, typer.Option(help="What nodes are set to: counterfactual or zero.")] = "counterfactual",
    metric: Annotated[str, typer.Option(help=METRIC_HELP)] = "logit_difference",
    points: Points = None,
    rule: Rule = None,
    at_once: Annotated[int, typer.Option(min=1, help="Pairs read at a time, and measured in batches that fit.")] = 32,
    memory: Memory = None,
    together: Annotated[bool, typer.Option("--together", help="Do not tell positions apart.")] = False,
    strongest: Annotated[int, typer.Option(min=0, help="Examples remembered of each node.")] = 5,
    no_resume: NoResume = False,
    splice_bos: SpliceBos = False,
    rows: Annotated[int, typer.Option(min=1, help="Nodes in the printed table.")] = 15,
    out: Annotated[Path | None, typer.Option(help="File. Default: out/<task or file>-rank.parquet.")] = None,
    seed: Seed = 0,
) -> None:
    """Rank all nodes over a dataset of any length: means, errors, and the examples where each does most."""
    with errors_for_people():
        inputs = Inputs(task, _text(pairs), split, examples, model, saes, splice_bos, seed)
        options = rank_command.RankOptions(
            method=method,
            error=error,
            patch=patch,
            metric=metric,
            points=points,
            rule=rule,
            at_once=at_once,
            together=together,
            strongest=strongest,
            memory=None if memory is None else bytes_of(memory),
            resume=not no_resume,
            rows=rows,
            out=_text(out),
        )
        rank_command.rank(Console(), inputs, options)


@app.command()
def ablate(
    nodes: Annotated[
        list[str] | None,
        typer.Argument(help="Nodes, as in blocks.2.hook_resid_post/117@verb; without @ everywhere; /error, token@3."),
    ] = None,
    circuit: Annotated[Path | None, typer.Option(help="All features and errors of a circuit.json instead.")] = None,
    op: Annotated[
        str | None,
        typer.Option(help="remove (default) or keep-only: to the value of --patch; set=V, add=V, scale=V."),
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Knock out the circuit's nodes one by one; compare.")] = False,
    text: Annotated[str | None, typer.Option(help="A prompt of your own instead of a task's pairs.")] = None,
    generate: Annotated[int, typer.Option(min=0, help="Tokens to generate, before and after.")] = 0,
    temperature: Annotated[float, typer.Option(min=0, help="Of generation; 0 takes the likeliest token.")] = 0.0,
    text_file: Annotated[
        Path | None, typer.Option(help="General text for the side effect, a document a line. Default: embedded.")
    ] = None,
    task: Task = None,
    pairs: Pairs = None,
    split: Split = None,
    examples: Examples = None,
    model: Model = None,
    saes: Saes = None,
    error: Annotated[
        str | None, typer.Option(help="SAE errors: live, frozen or zero. Default: the circuit's, else live.")
    ] = None,
    patch: Annotated[
        str | None, typer.Option(help=f"{PATCH_HELP} Default: the circuit's; zero with --text; else the first.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help=f"{METRIC_HELP} Default: the circuit's, else the first.")] = None,
    per_pair: Annotated[bool, typer.Option("--per-pair", help="Print every prompt.")] = False,
    splice_bos: SpliceBos = False,
    rows: Annotated[int, typer.Option(min=1, help="Features or nodes in the printed table.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the file. Default: the circuit's, or out/<task>-ablate.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Ablate or steer features, errors or a whole circuit, and see what changes: task, text, side effect."""
    with errors_for_people():
        inputs = Inputs(task, _text(pairs), split, examples, model, saes, splice_bos, seed)
        options = AblateOptions(
            nodes=tuple(nodes or ()),
            circuit=_text(circuit),
            op=op,
            test=test,
            text=text,
            text_file=_text(text_file),
            generate=generate,
            temperature=temperature,
            error=error,
            patch=patch,
            metric=metric,
            per_pair=per_pair,
            rows=rows,
            out=_text(out),
        )
        ablate_command.ablate(Console(), inputs, options)


@app.command()
def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CIRCUIT",
            help="Folder of a run of find, circuit.json, Neuronpedia / circuit-tracer JSON, .graphml or tables.",
        ),
    ],
    html: Annotated[Path | None, typer.Option(help="Write an interactive page: one file, no network.")] = None,
    neuronpedia: Annotated[Path | None, typer.Option(help="Write Neuronpedia / circuit-tracer graph JSON.")] = None,
    graphml: Annotated[Path | None, typer.Option(help="Write GraphML.")] = None,
    tables: Annotated[Path | None, typer.Option(help="Write nodes.parquet and edges.parquet to a folder.")] = None,
    dot: Annotated[Path | None, typer.Option(help="Write DOT for Graphviz.")] = None,
    max_edges: Annotated[
        int | None, typer.Option(min=1, help="Keep the strongest edges and those that nodes need; say what goes.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels of features. Default: labels.json beside the circuit, if there.")
    ] = None,
    verdict: Annotated[
        Path | None, typer.Option(help="A checker's verdict. Default: verdict.json beside the circuit, if there.")
    ] = None,
    slug: Annotated[str | None, typer.Option(help="The graph's name on Neuronpedia. Default: the task's.")] = None,
    scan: Annotated[str | None, typer.Option(help="The model's name on Neuronpedia. Default: the circuit's.")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page. Default: task and model.")] = None,
) -> None:
    """Write a circuit as an interactive page or as files that other tools read. Loads no model."""
    with errors_for_people():
        from circuits.commands.export import ExportOptions
        from circuits.commands.export import export as export_circuit

        options = ExportOptions(
            source=str(source),
            html=_text(html),
            neuronpedia=_text(neuronpedia),
            graphml=_text(graphml),
            tables=_text(tables),
            dot=_text(dot),
            max_edges=max_edges,
            labels=_text(labels),
            verdict=_text(verdict),
            slug=slug,
            scan=scan,
            title=title,
        )
        export_circuit(Console(), options)


def main() -> None:
    """Entry point of the `jumpwire` command; a bug ends with its traceback and code 70, so that 1 means flags."""
    try:
        app()
    except Exception:
        traceback.print_exc()
        sys.exit(70)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
