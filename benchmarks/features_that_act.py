"""Features that act: which fire inside quotes, brackets and questions, what writes them, and does their test hold?

    python -m benchmarks.features_that_act                                   the embedded model, on text of its language
    python -m benchmarks.features_that_act --model MODEL --saes FOLDER       on text that the model itself generates

For every named context that occurs in the text: the features that fire inside it best, and the report of the first.
Then the causal test of features drawn at random among those that fire: where a feature fires, the tokens that its
direction promotes should fall without it; where it does not, no logit may change.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any, Final

import torch

from attribution import SplicedModel
from attribution.models.site_names import kind_of
from attribution.runs.progress import silent
from circuits import embedded_corpus, feature_report, find_features, load_model, load_saes, splice
from circuits.ablation.generation import generate
from circuits.features.feature_report import ReportOptions
from circuits.features.firing import read_firings
from circuits.features.spans import NAMED, spans_of
from circuits.features.trigger_test import trigger_test
from circuits.labels.corpus import Corpus
from graphs import FeatureReport, FeatureSearch
from graphs.features.feature_words import part_in_words

SHOWN: Final = 5
DRAWN: Final = 6
"""Features drawn at each kind of site."""
TOKENS: Final = 120
"""Tokens of a generated text."""
BATCH: Final = 32


def generated_corpus(spliced: SplicedModel, documents: int, seed: int) -> Corpus:
    """Texts that the model draws from its own distribution, after what opens its prompts."""
    model, texts = spliced.model, list[str]()
    for start in range(0, documents, BATCH):
        rows = min(BATCH, documents - start)
        ids = torch.tensor([model.opening.ids] * rows)
        made = generate(spliced, ids, new_tokens=TOKENS, temperature=1.0, seed=seed + start, closing_id=model.eos_id)
        special = {model.bos_id, model.eos_id}
        texts += ["".join(model.token_texts([t for t in row if t not in special])) for row in made.ids.tolist()]
    name = f"{documents} texts that {model.name} generates (seed {seed})"
    return Corpus(name, lambda: iter(texts), model)


def contexts_found(spliced: SplicedModel, corpus: Corpus) -> Iterator[tuple[FeatureSearch, FeatureReport]]:
    """For each named context that the text has, the features that fire inside it, and the report of the first."""
    for name in NAMED:
        if not any(any(spans_of(name).inside(spliced.model, ids)) for ids in corpus.pieces()):
            continue
        found = find_features(spliced, corpus, fires=name, count=SHOWN)
        first = found.features[0]
        yield found, feature_report(spliced, first.site, first.index, corpus)


def drawn_tests(spliced: SplicedModel, corpus: Corpus, seed: int) -> dict[str, list[dict[str, Any]]]:
    """By kind of site, the causal tests of features drawn at random among those that fire at 10 places or more."""
    found: dict[str, list[dict[str, Any]]] = {}
    active = find_features(spliced, corpus, fires=r"\S", count=10**6).features
    for kind in dict.fromkeys(map(kind_of, spliced.sites)):
        own = [one for one in active if kind_of(one.site) == kind]
        for one in Random(seed).sample(own, min(DRAWN, len(own))):
            given = spliced, one.site, one.index
            few = {"batch_size": BATCH, "progress": silent}
            prompts = read_firings(*given, corpus, (), prompts=ReportOptions().prompts, tokens=1, **few).prompts
            test = trigger_test(*given, prompts, tokens=ReportOptions().tokens, **few)
            assert test is not None
            found.setdefault(kind, []).append({"feature": one.name, "holds": test.holds, **asdict(test)})
    return found


def numbers_of(found: FeatureSearch, report: FeatureReport) -> dict[str, Any]:
    """A context's features, and of the first one what writes it and its causal test, as plain data."""
    best = [{"feature": one.name, **asdict(one)} for one in found.features]
    first = {"written": [asdict(part) for part in report.written or ()], "test": report.test and asdict(report.test)}
    return {"context": found.fires, "base": found.base, "tokens": found.tokens, "best": best, "first": first}


def say_context(found: FeatureSearch, report: FeatureReport) -> None:
    """Print the features of a context, and the first one's evidence."""
    print(f"\n{found.fires}: {found.base or 0:.1%} of {found.tokens:,} tokens")
    for one in found.features:
        print(f"  {one.name}: precision {one.precision:.1%}, recall {one.recall:.1%}, fires at {one.fires:,} places")
    for part in (report.written or ())[:3]:
        tokens = ", ".join(f"{token!r} {share:.1%}" for token, share in part.tokens[:3])
        print(f"    written by {part_in_words(part)}: {part.share:.1%} ({tokens})")
    test = report.test
    assert test is not None
    print(f"    test holds: {test.holds}; promoted {test.promoted}, in {test.fell} of {test.prompts}; {test.largest}")


def say_drawn(tests: dict[str, list[dict[str, Any]]]) -> None:
    """Print how many of the drawn features pass."""
    print("\nfeatures drawn at random: the tokens they promote fall; largest change where they never fire")
    for kind, own in tests.items():
        held = sum(test["promoted"] > 0 for test in own)
        largest = [test["largest"] for test in own if test["largest"] is not None]
        print(f"  {kind}: {held} of {len(own)}; {max(largest)} over {sum(t['silent'] for t in own)} prompts")


def main() -> None:
    """Run the benchmark and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--saes")
    parser.add_argument("--documents", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/features_that_act.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    if arguments.model is None:
        spliced = splice(load_model(), load_saes())
        corpus = embedded_corpus(spliced.model, documents=arguments.documents)
    else:
        spliced = splice(load_model(arguments.model), load_saes(arguments.saes))
        corpus = generated_corpus(spliced, arguments.documents, arguments.seed)
    contexts = []
    for found, report in contexts_found(spliced, corpus):
        say_context(found, report)
        contexts.append(numbers_of(found, report))
    tests = drawn_tests(spliced, corpus, arguments.seed)
    say_drawn(tests)
    print(f"{time.perf_counter() - start:.0f} s")
    content = {"corpus": corpus.name, "seed": arguments.seed, "contexts": contexts, "drawn": tests}
    arguments.out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
