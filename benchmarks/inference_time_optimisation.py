"""Does ITO see better, or does it fiddle with small values? The bet of METHODS, section 11, on models at hand.

    python -m benchmarks.inference_time_optimisation [--out FILE] [--figure FILE]
    python -m benchmarks.inference_time_optimisation --model FOLDER --saes FOLDER --pairs FILE

Of the embedded model: documents of its language, from a seed. Of another: the clean prompts of `FILE`, continued by the
model itself to 64 tokens, sampled from a seed. What is done stays in `out/ito`, so that a second run goes on where the
first was stopped. Writes JSON, one entry for each model, and a figure (needs Chromium); prints Markdown.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from playwright.sync_api import sync_playwright
from rich.console import Console

from attribution import LanguageModel, kept_in, threshold_rounding
from attribution.models.hooks import logits_with
from benchmarks.page_screenshots import launched
from circuits import embedded_corpus, load_model, load_saes, prompt_pairs, splice
from circuits.embedded.sets import DEFAULT_SAES, EMBEDDED
from circuits.terminal.progress import progress_bar
from graphs import ThresholdRounding, bet_in_words, choices_in_words, rounding_figure
from graphs.quality.bet_words import CODES_IN_WORDS
from graphs.quality.threshold_rounding import CODES, MEASURES

SEED: Final = 7
TEXTS: Final = 16
LENGTH: Final = 64
OUT: Final = Path("benchmarks/inference_time_optimisation.json")
WIDTH: Final = 1200


def continued(model: LanguageModel, prompts: Sequence[Sequence[int]], length: int, seed: int) -> list[list[int]]:
    """The prompts, each continued by the model to so many tokens, sampled at temperature 1."""
    generator = torch.Generator().manual_seed(seed)
    texts = [list(ids)[:length] for ids in prompts]
    with torch.no_grad():
        while short := [text for text in texts if len(text) < length]:
            widest = max(map(len, short))
            ids = torch.tensor([[*text, *[0] * (widest - len(text))] for text in short])
            logits = logits_with(model, ids, {}).float()
            for text, row in zip(short, logits, strict=True):
                chosen = torch.multinomial(row[len(text) - 1].softmax(-1), 1, generator=generator)
                text.append(int(chosen))
    return texts


def texts_of(model: LanguageModel, pairs: Path | None, count: int) -> tuple[list[Sequence[int]], str]:
    """Texts to predict, and what they are in words."""
    if pairs is None:
        return list(embedded_corpus(model, documents=count, seed=SEED).pieces()), f"{count} documents of its language"
    prompts = list(dict.fromkeys(pair.clean_ids for pair in prompt_pairs(pairs, model)))[:count]
    written: list[Sequence[int]] = list(continued(model, prompts, LENGTH, SEED))
    return written, f"{len(written)} openings of {pairs.stem}, continued by the model"


def markdown(found: ThresholdRounding) -> str:
    """A table of the means over sites, and the sentences."""
    lines = ["| T | code | L0 | FVU | CE recovered | CE increase | KL |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for share in found.shares:
        for code in CODES:
            l0, recovered = (found.mean(code, share, of) for of in (lambda r: r.l0, lambda r: r.ce_recovered))
            fvu, increase, kl = (found.mean(code, share, of) for of in MEASURES.values())
            numbers = f"{l0:.1f} | {fvu:.4f} | {recovered:.3f} | {increase:.4f} | {kl:.4f}"
            lines.append(f"| {share:g} | {CODES_IN_WORDS[code]} | {numbers} |")
    sentences = [f"{bet_in_words(found.bet(measure))}." for measure in MEASURES]
    return "\n".join([*lines, "", *sentences, f"{choices_in_words(found)}."])


def draw(found: ThresholdRounding, picture: Path) -> None:
    """The figure as a PNG."""
    with sync_playwright() as playwright:
        browser = launched(playwright)
        page = browser.new_page(viewport={"width": WIDTH, "height": 700})
        page.set_content(rounding_figure(found).to_html(include_plotlyjs=True, config={"displayModeBar": False}))
        page.wait_for_selector(".main-svg")
        page.locator(".js-plotly-plot").screenshot(path=picture)
        browser.close()


def main() -> None:
    """Command-line entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--saes", default=DEFAULT_SAES)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    model = load_model(given.model)
    spliced = splice(model, load_saes(given.saes))
    texts, what = texts_of(model, given.pairs, given.texts)
    with kept_in("out/ito"), progress_bar(Console(stderr=True), f"codes of {model.name}") as told:
        found = threshold_rounding(spliced, texts, text=what, batch_size=8, progress=told)
    known: dict[str, Any] = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    known[model.name] = {"seed": SEED, **asdict(found), "bets": [asdict(found.bet(m)) for m in MEASURES]}
    given.out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(markdown(found))
    if given.figure is not None:
        draw(found, given.figure)


if __name__ == "__main__":
    main()
