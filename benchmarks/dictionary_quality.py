"""How good are the dictionaries at hand? The embedded ones, families of them at equal L0, and real ones.

    python -m benchmarks.dictionary_quality [--tokens N] [--seed S] [--model FOLDER --saes FOLDER] [--out FILE]

Embedded dictionaries are measured on text of the embedded language, and on the same words in random order, where CE and
KL part. A family is one dictionary of layer 2 at several
sparsities: TopK with other k; JumpReLU, ReLU and ProLU without activations below T. Real dictionaries are measured on
text that their model writes itself, and held against the `eval.json` beside each, where there is one. Writes the
numbers as JSON and prints tables as Markdown.
"""

import argparse
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from attribution import SAE, JumpReLU, LanguageModel, ProLU, ReLU, TopK
from circuits import dictionary_quality, embedded_corpus, load_model, load_saes, sae_sets, splice
from graphs import DictionaryAtSite, DictionaryQuality, compare_at_equal_l0

SITE = "blocks.2.hook_resid_post"
LENGTH = 128
"""Tokens of a text that a real model writes, after BOS."""
LEAST_ACTIVATIONS: dict[type[SAE], tuple[float, ...]] = {
    JumpReLU: (0.0, 3.0, 4.0, 6.0, 8.0),
    ReLU: (0.0, 0.25, 0.5, 1.0, 2.0),
    ProLU: (0.0, 6.0, 8.0, 10.0, 12.0),
}
"""T of each kind: the activations of ProLU are the largest."""
TOPK = (6, 9, 12, 15, 18)
SHOWN = ("FVU", "KL")
Texts = Sequence[Sequence[int]]


def embedded(model: LanguageModel, texts: Texts) -> list[DictionaryQuality]:
    """Every embedded set at the residual stream."""
    return [
        dictionary_quality(splice(model, load_saes(kind, sites="resid_post")), texts, name=kind) for kind in sae_sets()
    ]


def in_random_order(texts: Texts, seed: int) -> list[list[int]]:
    """The texts with everything after BOS shuffled."""
    draw = random.Random(seed)
    return [[opening, *draw.sample(rest, len(rest))] for opening, *rest in texts]


def families(model: LanguageModel, texts: Texts) -> list[DictionaryQuality]:
    """Each kind of encoder at several sparsities; Gated has one, because its gate is no threshold on its value."""
    found = []
    for kind in sae_sets():
        sae = load_saes(kind, sites=SITE)[SITE]
        for setting, sparser in at_several_sparsities(sae).items():
            spliced = splice(model, {SITE: sparser})
            found.append(dictionary_quality(spliced, texts, name=f"{kind} {setting}".strip(), family=kind))
    return found


def at_several_sparsities(sae: SAE) -> dict[str, SAE]:
    """The SAE as it is and sparser, by what was set."""
    if isinstance(sae, TopK):
        return {f"k = {k}": replace(sae, k=k) for k in TOPK}
    of: dict[type[SAE], Callable[[Any, float], SAE]] = {JumpReLU: _jump, ReLU: _relu, ProLU: _prolu}
    if type(sae) not in of:
        return {"": sae}
    return {f"T = {least:g}": of[type(sae)](sae, least) for least in LEAST_ACTIVATIONS[type(sae)]}


def _jump(sae: JumpReLU, least: float) -> SAE:
    return replace(sae, threshold=sae.threshold.clamp(min=least))


def _relu(sae: ReLU, least: float) -> SAE:
    shared = {name: getattr(sae, name) for name in ("W_enc", "W_dec", "b_dec", "b_enc", "site", "apply_b_dec_to_input")}
    return JumpReLU(**shared, threshold=torch.full_like(sae.b_enc, least))


def _prolu(sae: ProLU, least: float) -> SAE:
    return replace(sae, b_enc=sae.b_enc.clamp(max=-least))


def written_by(model: LanguageModel, count: int, seed: int) -> list[list[int]]:
    """Texts of `LENGTH` tokens that a model writes after BOS, each token drawn from its predictions."""
    assert model.bos_id is not None
    generator, ids = torch.Generator().manual_seed(seed), torch.full((count, 1), model.bos_id)
    with torch.no_grad():
        for _ in range(LENGTH):
            shares = model.logits(ids)[:, -1].softmax(-1)
            ids = torch.cat([ids, torch.multinomial(shares, 1, generator=generator)], dim=1)
    return ids.tolist()


def independent(folder: Path, found: DictionaryQuality) -> dict[str, dict[str, float]]:
    """What others measured, by site, in our terms."""
    evaluations = {at.site: folder / at.site / "eval.json" for at in found.sites}
    read = {site: json.loads(path.read_text("utf-8")) for site, path in evaluations.items() if path.is_file()}
    return {
        site: {
            "l0": said["l0"],
            "fvu": 1 - said["explained_variance"],
            "ce_recovered_of_mean": said["ce_recovered"],
            "dead": said["dead"],
            "dense": said["dense_gt_10pct"],
        }
        for site, said in read.items()
    }


def numbers(quality: DictionaryQuality) -> dict[str, Any]:
    """The numbers of a set without its histograms, as plain data."""
    return {
        **{name: getattr(quality, name) for name in ("name", "family", "text", "positions", "tokens", "ce_model")},
        "sites": [_of_site(at) for at in quality.sites],
        "together": vars(quality.together),
    }


def _of_site(at: DictionaryAtSite) -> dict[str, Any]:
    plain = {name: getattr(at, name) for name in ("site", "kind", "features", "l0", "fvu", "cosine", "gamma", "rho")}
    return {**plain, "dead": len(at.dead) / at.features, "dense": len(at.dense) / at.features, "alone": vars(at.alone)}


def table(qualities: Sequence[DictionaryQuality]) -> str:
    """Means over the sites of each set, then all sites at once."""
    heads = (
        "| set | sites | L0 | FVU | γ | ρ | ρ/γ | ΔCE alone | KL alone | ΔCE together | CE recovered | KL together |"
    )
    return "\n".join([heads, "|" + " --- |" * 12, *map(_row, qualities)])


def _row(quality: DictionaryQuality) -> str:
    def mean(of: Callable[[DictionaryAtSite], float | None]) -> float:
        values = [value for at in quality.sites if (value := of(at)) is not None]
        return sum(values) / len(values)

    own = quality.together
    cells = [
        *(quality.name, str(len(quality.sites)), f"{mean(lambda at: at.l0):.1f}", f"{mean(lambda at: at.fvu):.4f}"),
        *(f"{mean(lambda at: at.gamma):.3f}", f"{mean(lambda at: at.rho):.3f}"),
        *(f"{mean(lambda at: at.rho) / mean(lambda at: at.gamma):.3f}", f"{mean(lambda at: at.alone.ce_increase):.4f}"),
        *(f"{mean(lambda at: at.alone.kl):.4f}", f"{own.ce_increase:.3f}"),
        _shares(own.ce_recovered_of_zero, own.ce_recovered_of_mean),
        f"{own.kl:.3f}",
        _shares(own.kl_recovered_of_zero, own.kl_recovered_of_mean),
    ]
    return f"| {' | '.join(cells)} |"


def _shares(*shares: float | None) -> str:
    return " / ".join("–" if share is None else f"{share:.1%}" for share in shares)


def equal_l0(qualities: Sequence[DictionaryQuality]) -> str:
    """FVU and KL of every family at the L0 of each dictionary."""
    names = list(dict.fromkeys(quality.family for quality in qualities))
    lines = [f"| at the L0 of | L0 | measure | {' | '.join(names)} |", "|" + " --- |" * (3 + len(names))]
    for row in (found for found in compare_at_equal_l0(qualities) if found.measure in SHOWN):
        values = (row.values.get(name) for name in names)
        cells = ("–" if value is None else f"{value:.4f}" for value in values)
        lines.append(f"| {row.of} | {row.l0:.1f} | {row.measure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def differences(found: DictionaryQuality, said: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The largest difference from what others measured, over the sites; that of L0 as a share."""
    most: dict[str, float] = {}
    for at in found.sites:
        own = {**_of_site(at), "ce_recovered_of_mean": at.alone.ce_recovered_of_mean}
        for name, value in said.get(at.site, {}).items():
            apart = abs(own[name] - value) / (value if name == "l0" else 1.0)
            most[name] = max(most.get(name, 0.0), apart)
    return most


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=6000, help="tokens of text for each model")
    parser.add_argument("--seed", type=int, default=5, help="of the embedded text, and of what a real model writes")
    parser.add_argument("--model", type=Path, help="folder of a real model")
    parser.add_argument("--saes", type=Path, help="folder of its dictionaries")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/dictionary_quality.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model()
    texts = list(islice(embedded_corpus(model, seed=arguments.seed).pieces(), max(1, arguments.tokens // 64)))
    sets, shuffled = (embedded(model, read) for read in (texts, in_random_order(texts, arguments.seed)))
    sets.append(dictionary_quality(splice(model, load_saes()), texts, name="jumprelu, 12 sites"))
    sparsities = families(model, texts)
    print(table(sets), "", "The same words in random order:", table(shuffled), "", equal_l0(sparsities), "", sep="\n")
    found = {"embedded": sets, "in_random_order": shuffled, "families": sparsities}
    content: dict[str, Any] = {"seed": arguments.seed, **{name: list(map(numbers, own)) for name, own in found.items()}}
    if arguments.model is not None:
        real = load_model(arguments.model)
        spliced = splice(real, load_saes(arguments.saes))
        written = written_by(real, max(1, arguments.tokens // LENGTH), arguments.seed)
        own = dictionary_quality(spliced, written, name=arguments.model.name, text="text that the model wrote")
        said = independent(arguments.saes, own)
        print(table([own]), f"Largest differences from eval.json: {differences(own, said)}", sep="\n")
        content |= {"real": numbers(own), "independent": said, "differences": differences(own, said)}
    arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
