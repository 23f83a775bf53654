"""The recipe that trained the embedded model and its SAEs: `python -m circuits.embedded.recipe --out DIR`."""
