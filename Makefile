# Two commands for a fresh machine with Python 3.11+:  make demo  and  make test
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check docs clean

demo: .venv/installed          ## set up, then train on scikit-learn's digits with 40 % of the labels flipped
	$(BIN)/selfdistill fit
	@run=$$(ls -dt runs/*/run.json | head -1 | xargs dirname); echo "See it:    $(BIN)/selfdistill report $$run"; \
	echo "Review it: $(BIN)/selfdistill review $$run   (needs: $(BIN)/pip install -e '.[review]')"

test: .venv/installed-dev      ## set up, then pass the tests; `pytest` alone mixes them anew and prints the seed
	OMP_NUM_THREADS=1 CI=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --randomly-seed=1

check: .venv/installed-dev     ## linters, types, floors
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/ruff format --check src tests benchmarks examples docs
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed-dev      ## the documentation site, strictly, into site/
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# torch comes first and alone: a build that is already on the machine, such as the CPU one, is then kept.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q "torch>=2.6,<2.14"
	$(BIN)/python -m pip install -q -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install -q -e ".[dev]"
	touch $@

clean:
	rm -rf .venv
