"""`python -m circuits.embedded.recipe --out DIR`: train the model, then the SAEs, then judge both."""

import argparse
import os
import shutil
import time
from pathlib import Path

from circuits.embedded.recipe.evaluate import evaluate
from circuits.embedded.recipe.train_model import train_model
from circuits.embedded.recipe.train_saes import sae_runs, train_saes

STAGES = ("model", "saes", "evaluate")


def main() -> None:
    """Run the chosen stages. Each one reads what the one before it wrote in --out.

    The saes stage goes on where an interrupted one stopped. A newly trained model starts without SAEs.
    """
    parser = argparse.ArgumentParser(prog="python -m circuits.embedded.recipe", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for model/, saes/, quality.json, README.md")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--only", default="", help="train only the SAEs whose set/hook name contains this")
    parser.add_argument("--workers", type=int, default=2, help="SAEs trained at the same time, one core each")
    arguments = parser.parse_args()
    os.environ.setdefault("TQDM_DISABLE", "1")
    out: Path = arguments.out
    start = time.time()
    if "model" in arguments.stages:
        train_model(out / "model")
        shutil.rmtree(out / "saes", ignore_errors=True)  # trained on another model
    if "saes" in arguments.stages:
        runs = sae_runs(layers=4)
        chosen = tuple(run for run in runs if arguments.only in f"{run.sae_set}/{run.hook_name}")
        train_saes(out / "model", out / "saes", chosen, workers=arguments.workers)
    if "evaluate" in arguments.stages:
        evaluate(out)
    print(f"finished in {(time.time() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
