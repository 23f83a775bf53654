# Two commands set everything up on a machine with Python 3.11+, pip and make:
#   make circuit   find a circuit on the embedded model and write its page
#   make test      lint, type-check, test
PYTHON ?= python3
BIN := .venv/bin
# One process for each core, at most 4; the tests of a file stay together, since they share what they load. Files start
# in the order of collection, notebooks first: a notebook is one long test.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
SAELENS_BIN := .venv-saelens/bin

.PHONY: circuit test lint types unit test-saelens notebooks embedded bench clean

circuit: .venv/installed
	$(BIN)/jumpwire find --out out/agreement

# Types beside the tests: the one is a single process that prints when it ends.
test: lint
	$(MAKE) --no-print-directory --jobs 2 types unit

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint --deny-warnings graphs/page/script tests/page_tests

types: .venv/installed
	$(BIN)/pyright

unit: .venv/installed
	$(BIN)/pytest $(SIDE_BY_SIDE)

# The same adapter, splice and SAE tests with transformer-lens 3.9 and sae-lens beside us.
test-saelens: .venv-saelens/installed
	$(SAELENS_BIN)/pytest $(SIDE_BY_SIDE) tests/saes_tests tests/attribution_tests tests/hub_tests

# Run every notebook and keep what it shows; sources are the .py files in notebooks/. Needs Chromium.
notebooks: .venv/installed
	$(BIN)/python notebooks/make_notebooks.py

# Train the embedded model and its SAEs again: under two hours on 2 cores.
embedded: .venv-saelens/installed
	$(SAELENS_BIN)/python -m circuits.embedded.recipe --out circuits/embedded

bench: .venv/installed
	$(BIN)/python -m benchmarks.methods

# torch first, at the version of constraints.txt: a newer one would bring several GB of CUDA along.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-saelens/installed: pyproject.toml constraints.txt constraints-saelens.txt
	$(PYTHON) -m venv .venv-saelens
	$(SAELENS_BIN)/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(SAELENS_BIN)/pip install --quiet --disable-pip-version-check --constraint constraints-saelens.txt --editable '.[dev,saelens]'
	touch $@

clean:
	rm -rf .venv .venv-saelens out
