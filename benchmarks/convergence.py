"""Does chord IG converge? Every encoder kind, all of its sites at once, every task and split of the embedded model.

    python -m benchmarks.convergence [--pairs N] [--rtol R]

Every stretch starts with 8 Gauss-Legendre points. An example has converged if its stretches' residuals add up to at
most rtol · |total effect|. Prints the share of examples that converged and the mean and the largest number of points in
a stretch, and names every example that did not converge.
"""

import argparse

import numpy as np
import torch

from attribution import chord_attribution, gauss_legendre
from circuits import SPLITS, TASKS, load_model, load_saes, logit_difference, prompt_pairs, sae_sets, splice


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100, help="pairs of each task and split")
    parser.add_argument("--rtol", type=float, default=1e-3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model()
    print(f"{'SAEs':9} {'split':20} " + " ".join(f"{task:>26}" for task in TASKS))
    missed: list[str] = []
    for kind in sae_sets():
        spliced = splice(model, load_saes(kind))
        for split in SPLITS:
            cells: list[str] = []
            for task in TASKS:
                pairs = prompt_pairs(task, model, split=split, examples=arguments.pairs)
                found = chord_attribution(
                    spliced, pairs, logit_difference, points=gauss_legendre(8), rtol=arguments.rtol, batch_size=20
                )
                assert found.converged is not None
                points = found.stretch_points
                cells.append(f"{found.converged.mean():7.1%} {points.mean():5.1f} (max {points.max():2d})")
                for example in np.nonzero(~found.converged)[0].tolist():
                    worst = int(np.abs(found.stretch_residual[example]).argmax())
                    total, residual = found.effects.total_effect[example], found.stretch_residual[example, worst]
                    where = f"{kind}, {split}, {task}, example {example}"
                    missed.append(f"{where}: total {total:+.4f}, residual {residual:+.1e} at {found.stretches[worst]}")
            print(f"{kind:9} {split:20} " + " ".join(f"{cell:>26}" for cell in cells), flush=True)
    print("\n".join(["Did not converge:", *missed]) if missed else "Every example converged.")


if __name__ == "__main__":
    main()
