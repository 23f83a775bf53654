"""Do circuits that templates found explain anything else, and what does finding them on one prompt cost?

    python -m benchmarks.narrow_circuits [--model FOLDER --saes FOLDER] [--task NAME ...] [--out FILE]

Of every task: a circuit of 16 training pairs and circuits of one pair each, none of them with positions, so that they
have a meaning in any text. F of each on the pair or pairs that found it, on training templates with other pairs, on
other words, other templates, adversarial templates, and where the task's words occur in text that no template made: the
embedded language for the embedded model, else what the model itself writes. Writes JSON and prints Markdown.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from attribution import LanguageModel, PromptPairs, SplicedModel
from attribution.models.tokenising import decoded_text
from attribution.splice import references
from circuits import (
    ANY_TASKS,
    attribution_patching,
    embedded_corpus,
    judge_elsewhere,
    load_model,
    load_saes,
    logit_difference,
    pairs_in_text,
    prompt_pairs,
    rank_nodes,
    splice,
)
from circuits.ranking.aggregate import Ranking
from circuits.selection.iterated import iterate
from circuits.selection.node_sets import Directions, NodeSets
from circuits.selection.pair_parts import both_directions
from circuits.tasks.any_model.writing import TaskRefused
from circuits.tasks.prompts import speaks_embedded
from circuits.tasks.registry import splits_of
from graphs import ErrorNode, FeatureNode

SEED: Final = 0
MANY, ONES, JUDGED = 16, 4, 40
"""Pairs that find the circuit of many, circuits of one pair, and pairs that judge."""
SITES: Final = "resid_post"
OWN, TEXT = "own", "text"
FAITHFUL, DROP = 0.8, 0.3
"""What the search is to reach on the pairs that it has, and the share that it drops in a round."""
STORIES, STORY_TOKENS, TEMPERATURE = 192, 128, 0.8


def written_by(model: LanguageModel) -> list[str]:
    """Texts that the model writes by itself from its BOS, drawn with a seed."""
    assert model.bos_id is not None
    assert model.keeps_cache
    generator, cache = torch.Generator().manual_seed(SEED), model.new_cache()
    written = [torch.full((STORIES, 1), model.bos_id)]
    with torch.no_grad():
        for _ in range(STORY_TOKENS):
            likely = (model.logits(written[-1], cache)[:, -1] / TEMPERATURE).softmax(-1)
            written.append(torch.multinomial(likely, 1, generator=generator))
    return [decoded_text(model.tokenizer, row[1:]) for row in torch.cat(written, dim=1).tolist()]


def sets_of(task: str, model: LanguageModel, texts: Sequence[str]) -> tuple[dict[str, PromptPairs], dict[str, str]]:
    """Pairs that judge, drawn anew, and why a set is missing."""
    found: dict[str, PromptPairs] = {}
    missing: dict[str, str] = {}
    for split in (*splits_of(task, speaks_embedded(model)), TEXT):
        try:
            if split == TEXT:
                found[split] = pairs_in_text(task, texts, model, examples=JUDGED, seed=SEED)
            else:
                found[split] = prompt_pairs(task, model, split=split, examples=JUDGED, seed=SEED + 1)
        except TaskRefused as error:
            missing[split] = str(error)
    return found, missing


def circuit_of(spliced: SplicedModel, pairs: PromptPairs) -> Ranking:
    """The smallest set with F ≥ 0.8 on some pairs that the search of `find` gets to, without positions or edges."""
    ranking = rank_nodes(attribution_patching(spliced, pairs, logit_difference), pairs, spliced.model, scheme="none")
    nodes = [w.node for w in ranking.nodes if isinstance(w.node, FeatureNode | ErrorNode)]

    def sets(own: PromptPairs) -> NodeSets:
        return NodeSets(spliced, own, logit_difference, references.counterfactual, nodes, ranking.positions)

    both = Directions([sets(own) for own in both_directions(pairs)])
    found = iterate(sets(pairs), both, None, target=FAITHFUL, drop=DROP, refine=False)
    return ranking.only({node for node, inside in zip(nodes, found.chosen, strict=True) if inside})


def judged(spliced: SplicedModel, circuit: Ranking, sets: Mapping[str, PromptPairs]) -> dict[str, Any]:
    """F and its interval by set, how often the features fire, and the size of the circuit."""
    found = judge_elsewhere(spliced, circuit, sets)
    return {
        "sets": {row.split: asdict(row) for row in found.faithfulness},
        "missing": dict(found.missing),
        "fires": [asdict(own) for own in found.fires[:40]],
    }


def experiment(task: str, spliced: SplicedModel, texts: Sequence[str]) -> dict[str, Any]:
    """One task: the circuit of many pairs, and those of one."""
    start, model = time.perf_counter(), spliced.model
    sets, missing = sets_of(task, model, texts)
    training = prompt_pairs(task, model, examples=MANY, seed=SEED)
    many = judged(spliced, circuit_of(spliced, training), {OWN: training, **sets})
    ones: list[dict[str, Any]] = []
    for pair in list(training)[:ONES]:
        own = PromptPairs((pair,))
        ones.append(judged(spliced, circuit_of(spliced, own), {OWN: own, **sets}))
    seconds = time.perf_counter() - start
    return {"task": task, "many": many, "ones": ones, "missing": missing, "seconds": seconds}


def table(found: Mapping[str, Any]) -> Iterator[str]:
    """The task's rows as Markdown: what judges, its scale, F of the circuit of many and of those of one pair."""
    rows = found["many"]["sets"]
    sizes = [next(iter(one["sets"].values()))["nodes"] for one in found["ones"] if one["sets"]]
    yield f"\n{found['task']}: {next(iter(rows.values()))['nodes']} nodes of {MANY} pairs, {sizes} of one\n"
    yield f"| judged on | pairs | m(M) | m(∅) | F, {MANY} pairs | F, one pair: mean (range) |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, row in rows.items():
        ones = [one["sets"][name]["faithfulness"] for one in found["ones"] if name in one["sets"]]
        span = f"{sum(ones) / len(ones):.2f} ({min(ones):.2f} to {max(ones):.2f})" if ones else "–"
        bounds = ", ".join("–" if b is None else f"{b:.2f}" for b in (row["low"], row["high"]))
        yield (
            f"| {name} | {row['pairs']} | {row['m_full']:+.2f} | {row['m_empty']:+.2f} | {row['faithfulness']:.2f} "
            f"[{bounds}] | {span} |"
        )
    yield from (f"- {name}: {why}" for name, why in {**found["missing"], **found["many"]["missing"]}.items())
    low = min(rows, key=lambda name: rows[name]["faithfulness"])
    fires = [own for own in found["many"]["fires"] if OWN in own["share"] and low in own["share"]]
    often = [own for own in fires if own["share"][low] >= own["share"][OWN]]
    yield f"- {len(often)} of the {len(fires)} strongest features fire on {low} at least as often as on their own pairs"


def main() -> None:
    """Run the experiment on one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--saes")
    parser.add_argument("--task", action="append", choices=ANY_TASKS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/narrow_circuits.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model() if arguments.model is None else load_model(arguments.model)
    saes = load_saes(sites=SITES) if arguments.saes is None else load_saes(arguments.saes, sites=SITES)
    spliced = splice(model, saes)
    texts = list(embedded_corpus(model).read()) if arguments.model is None else written_by(model)
    content = json.loads(arguments.out.read_text("utf-8")) if arguments.out.is_file() else {}
    name = Path(model.name).name
    for task in arguments.task or ANY_TASKS:
        try:
            found = experiment(task, spliced, texts)
        except ValueError as error:
            found = {"task": task, "refused": str(error)}
            print(f"\n{task}: {error}", flush=True)
        else:
            print("\n".join(table(found)), f"\n{found['seconds']:.0f} s", flush=True)
        content.setdefault(name, {})[task] = found
        arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
