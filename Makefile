PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt
RESULTS := results/quickstart

.PHONY: run test test-slow lint clean

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) -e '.[dev]'
	touch $@

# The main job: a table on the terminal, a figure and records in $(RESULTS). Stopped, it goes on where it was.
run: $(VENV)/.base
	$(BIN)/dts-gym run --env DiffusionBandit-v0 --agents dTS LinTS LinUCB HierTS --seeds 10 --rounds 5000 \
		--tune --workers 2 --out $(RESULTS) --resume

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m 'not slow'

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	.ci/wheel $(BIN)

clean:
	rm -rf $(VENV) build dist *.egg-info
