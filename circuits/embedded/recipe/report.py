"""Write the README of the embedded files: what they are, and the quality tables of quality.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_OPENING = """# The embedded model and its SAEs

Everything here is made by `make embedded`, from nothing but the generated language in `language.py`. The
tables are written by the recipe and judge the weights as shipped (rounded to float16).

- `model/`: a Hugging Face folder. Llama, 4 layers, width 128, 4 heads, one token per word, {words} words
  and marks.
- `saes/<set>/<hook name>/`: SAELens folders (`cfg.json`, `sae_weights.safetensors`), trained without the
  position of `<s>` on 768 features; features that fire on fewer than 1 in 100,000 training words were then
  taken out, since a site of few dimensions needs fewer. The default set `jumprelu` covers attn_out, mlp_out
  and resid_post of every layer; `relu`, `gated`, `topk` and `prolu` cover resid_post. `prolu` is not an
  SAELens architecture: f = relu(m) * (m + b_enc > 0), m = (x - b_dec) @ W_enc, reconstruction
  f @ W_dec + b_dec.
- `quality.json`: the numbers below, for machines.

The shipped files are what one run of the recipe gave: 18 minutes for the model and 22 for the SAEs and these tables on
two shared cores. Another machine's rounding leads to other weights of the same quality, not to the same bytes.

## The model on the tasks

Share of {pairs} pairs per row in which the right next word has the larger logit: after the clean text,
after the patch text, after both; then the mean logit difference in nats, positive when right. *bigram*
counts which word follows the last word; *nearest cue* follows the nearest noun, gendered person, name or
opening mark; a tie counts half. The splits: `train` has the templates and words of the training text,
`held_out` some of these templates, with key words that the training text has in the other ones only (held-out
nouns are the subject of `adjectives`, held-out people of `profession`, held-out names of `name_next_sentence`, and
they give in `later` and `next_sentence`), or for closing with nestings that the training text never has,
`out_of_distribution` structures that never occurred in training. Cross-entropy on new text: {ce:.3f} nats per word.

| task | split | clean | patch | both | logit difference | bigram, one / both | nearest cue, one / both |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""

_TEMPLATES = """
By template, share right on both texts:

| task | split | templates |
| --- | --- | --- |
"""

_SAES = """
## The SAEs

On {tokens} words that neither the model nor the SAEs were trained on. FVU: share of variance not
explained. CE recovered: (CE with the site at zero - CE spliced) / (CE with the site at zero - CE clean);
CE increase in nats per word. Dead: features that never fire; dense: that fire on more than 10% of the
words.

| set | site | features | L0 | FVU | CE recovered | CE increase | dead | dense |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def write_readme(path: Path, quality: Mapping[str, Any], words: int) -> None:
    """Write the whole README.md."""
    text = _OPENING.format(words=words, pairs=quality["pairs_per_cell"], ce=quality["cross_entropy"])
    for task, splits in quality["tasks"].items():
        for split, judges in splits.items():
            text += _task_row(task, split, judges)
    text += _TEMPLATES
    for task, splits in quality["tasks"].items():
        for split, judges in splits.items():
            shares = ", ".join(f"{name} {share:.0%}" for name, share in judges["templates"].items())
            text += f"| {task} | {split} | {shares} |\n"
    text += _SAES.format(tokens=f"{quality['held_out_words']:,}")
    for row in quality["saes"]:
        text += _sae_row(row)
    path.write_text(text)


def _task_row(task: str, split: str, judges: Mapping[str, Mapping[str, float]]) -> str:
    model = judges["model"]
    cells = [task, split, *(f"{model[key]:.1%}" for key in ("clean", "patch", "both"))]
    cells.append(f"{model['difference']:.2f}")
    for name in ("bigram", "nearest cue"):
        one = (judges[name]["clean"] + judges[name]["patch"]) / 2
        cells.append(f"{one:.0%} / {judges[name]['both']:.0%}")
    return f"| {' | '.join(cells)} |\n"


def _sae_row(row: Mapping[str, Any]) -> str:
    cells = [
        row["set"],
        row["hook_name"],
        str(row["d_sae"]),
        f"{row['l0']:.1f}",
        f"{row['fvu']:.3f}",
        f"{row['ce_recovered']:.3f}",
    ]
    cells += [f"{row['ce_increase']:.3f}", f"{row['dead']:.1%}", f"{row['dense']:.1%}"]
    return f"| {' | '.join(cells)} |\n"
