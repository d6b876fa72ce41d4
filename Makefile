# The commands of the README. Everything is set up in .venv on first use; Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all check docs bench mini-clip mini-vit mini-resnet clean

demo: $(VENV)/ready  ## draw people, fine-tune, evaluate before and after, write demo-output/report.html; goes on when interrupted
	$(BIN)/resight demo --out demo-output

# one thread a process: as many processes as cores wait for each other's threads otherwise
test: $(VENV)/ready  ## the quick suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

test-all: $(VENV)/ready  ## with the slow tests
	$(BIN)/python -m pytest -m "not gpu and not docs and not interrupts" --durations=10

check: $(VENV)/ready  ## style, types, and the tests that hold the shape of the project
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_structure.py

docs: $(VENV)/ready  ## the documentation as site/index.html, which needs no network; then runs every command and program it shows
	$(BIN)/python docs/tools/settings.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m docs -n auto --dist loadgroup tests/docs

bench: $(VENV)/ready  ## the benchmarks; each prints one table
	$(BIN)/python benchmarks/bench_evaluate.py
	$(BIN)/python benchmarks/bench_embed.py
	$(BIN)/python benchmarks/bench_train.py

MINI_PICTURES = 60000
MINI_OUT = mini-output
MINI_PACKED = src/resight/clip/mini
MINI_TRAIN = --data $(MINI_OUT)/pictures/index.csv --size 128 64 --normalisation half --train-interpolation bicubic \
	--sampler distinct --batch-size 256 --temperature None --optimizer adamw --epsilon 1e-6 --rate 1e-3 --bias-rate-factor 1 \
	--weight-decay 0.1 --warmup-epochs 1 --pad 6 --erase 0.25 --erasing pixel --colour 0.15 --seed 0
mini-clip: mini-vit mini-resnet  ## pre-train resight-mini and resight-mini-rn from nothing; an hour and more; goes on when interrupted

mini-vit: MINI_EPOCHS = 8
mini-resnet: MINI_EPOCHS = 6
mini-vit mini-resnet: mini-%: $(MINI_OUT)/pictures/index.csv
	$(BIN)/python mini/weights.py start $* $(MINI_OUT)/start-$*
	$(BIN)/resight train text-direct $(MINI_TRAIN) --epochs $(MINI_EPOCHS) --out $(MINI_OUT)/$* \
		--init $(MINI_OUT)/start-$*/open_clip_model.safetensors $(if $(wildcard $(MINI_OUT)/$*/config.json),--resume)
	$(BIN)/python mini/weights.py pack $* $(MINI_OUT)/$*/encoder $(MINI_OUT)/pictures/index.csv $(MINI_PACKED)/$*

$(MINI_OUT)/pictures/index.csv: | $(VENV)/ready
	$(BIN)/python mini/draw.py $(@D) --pictures $(MINI_PICTURES) --seed 1

clean:
	rm -rf $(VENV) build dist site src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output mini-output

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'resight needs Python 3.11 or newer; found ' + sys.version.split()[0] + '. Name another: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
