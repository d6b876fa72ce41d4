# The commands of the README. Everything is set up in .venv on first use; Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all check bench mini-clip clean

demo: $(VENV)/ready  ## draw people, fine-tune, evaluate before and after, write demo-output/report.html; goes on when interrupted
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
	$(BIN)/python benchmarks/bench_train.py

MINI_PICTURES = 60000
mini-clip: $(VENV)/ready  ## pre-train resight-mini and resight-mini-rn from nothing on drawn pictures; an hour and more
	$(BIN)/python mini/draw.py mini-output/pictures --pictures $(MINI_PICTURES) --seed 1
	$(MAKE) mini-output/vit mini-output/resnet

MINI_TRAIN = --data mini-output/pictures/index.csv --size 128 64 --normalisation half --rate 1e-3 --weight-decay 0.1 \
	--batch-size 256 --warmup-epochs 1 --pad 6 --erase 0.25 --colour 0.15 --seed 0
mini-output/vit: MINI_EPOCHS = 8
mini-output/resnet: MINI_EPOCHS = 6
mini-output/%:
	$(BIN)/python mini/weights.py start $* mini-output/start-$*
	$(BIN)/resight train text-direct $(MINI_TRAIN) --epochs $(MINI_EPOCHS) --out $@ \
		--init mini-output/start-$*/open_clip_model.safetensors
	$(BIN)/python mini/weights.py pack $* $@/encoder src/resight/clip/mini/$*

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output mini-output

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'resight needs Python 3.11 or newer; found ' + sys.version.split()[0] + '. Name another: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
