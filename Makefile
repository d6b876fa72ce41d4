# The commands of the README. Everything is set up in .venv on first use; Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all check bench clean

demo: $(VENV)/ready  ## draw people, embed, evaluate, report
	rm -rf demo-output
	$(BIN)/resight demo --out demo-output

test: $(VENV)/ready  ## the quick suite
	$(BIN)/python -m pytest -n auto

test-all: $(VENV)/ready  ## with the slow tests
	$(BIN)/python -m pytest -m "not gpu" --durations=10

check: $(VENV)/ready  ## style, types, and the tests that hold the shape of the project
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_structure.py

bench: $(VENV)/ready  ## the benchmarks; each prints one table
	$(BIN)/python benchmarks/bench_evaluate.py
	$(BIN)/python benchmarks/bench_embed.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'resight needs Python 3.11 or newer; found ' + sys.version.split()[0] + '. Name another: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
