# Two commands set everything up on a machine with Python 3.11+, pip and make:
#   make circuit   find a circuit on the embedded model and write its page
#   make test      lint, type-check, test
PYTHON ?= python3
BIN := .venv/bin
# One process for each core, at most 4; the tests of a file stay together, since they share what they load. Files start
# in the order of collection, notebooks first: they are the longest of the slow tests.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
SAELENS_BIN := .venv-saelens/bin

.PHONY: circuit test lint types unit test-slow fuzz test-kernels test-saelens notebooks docs embedded bench clean

circuit: .venv/installed
	$(BIN)/jumpwire find --out out/agreement

# Types beside the tests: the one is a single process that prints when it ends.
test: lint
	$(MAKE) --no-print-directory --jobs 2 types unit

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint --deny-warnings graphs/page/script tests/graphs/page

types: .venv/installed
	$(BIN)/pyright

unit: .venv/installed
	$(BIN)/pytest $(SIDE_BY_SIDE) --durations 25

# What takes more than ten seconds each: notebooks, whole searches, the benchmarks' own tests. They are not in `make test`.
test-slow: .venv/installed
	$(BIN)/pytest $(SIDE_BY_SIDE) -m slow --durations 25

# Every reader on FUZZ wrong files, made from right ones with SEED; at the end a report of what was tried. `make test` tries
# 300 for each. One reader: make fuzz READER=graphml
FUZZ := 20000
SEED := 0
READER :=
fuzz: .venv/installed
	JUMPWIRE_FUZZ=$(FUZZ) JUMPWIRE_FUZZ_SEED=$(SEED) $(BIN)/pytest tests/fuzz -p no:xdist -k '$(READER)'

# The unit suite with every kernel that torch has for a processor ("" is the best one here), and 1, 2 and 4 threads: what
# hangs on the order of sums is found here. Goes on after a failure, names each, and fails at the end.
KERNELS := default avx2 ""
THREADS := 1 2 4
test-kernels: .venv/installed
	@failed=; for kernel in $(KERNELS); do for threads in $(THREADS); do \
	  run="kernel $${kernel:-best here}, $$threads threads"; echo "== $$run"; \
	  if [ -n "$$kernel" ]; then export ATEN_CPU_CAPABILITY=$$kernel; else unset ATEN_CPU_CAPABILITY; fi; \
	  JUMPWIRE_TEST_THREADS=$$threads OMP_NUM_THREADS=$$threads $(BIN)/pytest $(SIDE_BY_SIDE) -m 'slow or not slow' tests || failed="$$failed [$$run]"; \
	done; done; \
	if [ -n "$$failed" ]; then echo "Failed:$$failed"; exit 1; fi

# The same adapter, splice and SAE tests with transformer-lens 3.9 and sae-lens beside us.
test-saelens: .venv-saelens/installed
	$(SAELENS_BIN)/pytest $(SIDE_BY_SIDE) -m 'slow or not slow' tests/attribution

# Run every notebook and keep what it shows; sources are the .py files in notebooks/. Needs Chromium.
notebooks: .venv/installed
	$(BIN)/python notebooks/make_notebooks.py

# The documentation as one site that works offline, out/docs/index.html. A broken link or an undocumented public name fails.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Train the embedded model and its SAEs again: under two hours on 2 cores.
embedded: .venv-saelens/installed
	$(SAELENS_BIN)/python -m circuits.embedded.recipe --out circuits/embedded

bench: .venv/installed
	$(BIN)/python -m benchmarks.methods

# torch first, at the version of constraints.txt: a newer one would bring several GB of CUDA along.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

.venv-saelens/installed: pyproject.toml constraints.txt constraints-saelens.txt
	$(PYTHON) -m venv .venv-saelens
	$(SAELENS_BIN)/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(SAELENS_BIN)/pip install --quiet --disable-pip-version-check --constraint constraints-saelens.txt --editable '.[dev,saelens]'
	touch $@

clean:
	rm -rf .venv .venv-saelens out
