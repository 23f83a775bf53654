"""Does the search find the sets that programs need? Compiled programs, whose variables are known.

    python -m benchmarks.program_sets [--pairs N] [--programs NAME ...]

For each contrast pair, the iterated search looks for a set with F >= .999 in the compiled network with its exact SAE,
once with ReLU and once with JumpReLU features. A variable counts as kept if one of its dimensions is. Prints how often
the set is exactly the program's, where the program has one (`benchmarks/programs/program_sets.py`); where it has
several, how often the set suffices by the program.
"""

import argparse

import torch

from attribution import JumpReLU, ReLU
from benchmarks.programs.compiled_model import load_compiled
from benchmarks.programs.exact_saes import splice_exactly
from benchmarks.programs.library import PROGRAMS
from benchmarks.programs.program_sets import iterated_set, program_set, suffices
from benchmarks.programs.truth import contrasts


def row(name: str, count: int) -> str:
    """The table's row for one program."""
    compiled = load_compiled(name)
    pairs = contrasts(compiled, count)
    truths = [program_set(compiled, pair) for pair in pairs]
    cells = [f"{sum(t.several == kind for t in truths)}" for kind in ("one", "cancelling", "backed up")]
    for kind in (ReLU, JumpReLU):
        found = [iterated_set(compiled, splice_exactly(compiled, kind), pair) for pair in pairs]
        exact = [set(t.needed) == own for t, own in zip(truths, found, strict=True) if t.several == "one"]
        several = [
            None not in own and suffices(compiled, pair, [p for p in own if p is not None])
            for pair, t, own in zip(pairs, truths, found, strict=True)
            if t.several != "one"
        ]
        cells += [f"{sum(these)} of {len(these)}" if these else "–" for these in (exact, several)]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Command-line entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4, help="contrast pairs of each program")
    parser.add_argument("--programs", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| program | pairs with one set | cancelling | backed up "
        "| ReLU: exact | suffices | JumpReLU: exact | suffices |"
    )
    print(f"|{' --- |' * 8}")
    for name in options.programs:
        print(row(name, options.pairs), flush=True)


if __name__ == "__main__":
    main()
