PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt
RESULTS := results/quickstart

MIN := .venv-min
# The oldest Python, for which all of the oldest versions have wheels.
MIN_PYTHON ?= $(shell command -v python3.11 || command -v $(PYTHON))
MIN_TESTS := tests/cli tests/datasets/test_movielens_data.py tests/envs/test_envs.py tests/harness/test_figures.py \
	tests/harness/test_record_formats.py tests/harness/test_records.py tests/priors/test_chains.py \
	tests/priors/test_prior_files.py tests/test_package.py tests/utils

.PHONY: run test test-all test-min test-slow lint docs clean

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) -e '.[dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.base
	$(PIP) -e '.[docs]'
	touch $@

# Every extra, as a list of requirements: contextualbandits is not among them where it cannot be compiled.
$(VENV)/.all: $(VENV)/.base .ci/extras.py
	$(BIN)/python .ci/extras.py > $(VENV)/all.txt
	$(PIP) -r $(VENV)/all.txt
	touch $@

# The main job: a table on the terminal, a figure and records in $(RESULTS). A stopped job resumes where it was.
run: $(VENV)/.base
	$(BIN)/dts-gym run --env DiffusionBandit-v0 --agents dUCB dTS LinTS LinUCB HierTS --seeds 10 \
		--rounds 5000 --tune --workers 2 --out $(RESULTS) --resume

test: $(VENV)/.dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n auto --dist loadfile

# The same tests with everything installed that a user can install: none may be skipped for a missing package.
test-all: $(VENV)/.all
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n auto --dist loadfile --no-missing

# The package and the extra dev with the oldest versions that pyproject.toml allows, in an environment of its own: a
# subset of the tests that calls all of them, in a few minutes.
$(MIN)/.dev: pyproject.toml minima.txt
	$(MIN_PYTHON) -m venv $(MIN)
	$(MIN)/bin/pip install -q --disable-pip-version-check -c minima.txt -e '.[dev]'
	touch $@

test-min: $(MIN)/.dev
	OPENBLAS_NUM_THREADS=1 $(MIN)/bin/python -m pytest -m 'not slow' -n auto --dist loadfile $(MIN_TESTS)

test-slow: $(VENV)/.all
	$(BIN)/python -m pytest -m slow --no-missing

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	.ci/wheel $(BIN)

# The site, into docs/_build/html: warnings are errors, nothing is fetched.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build/html
	@echo docs/_build/html/index.html

clean:
	rm -rf $(VENV) $(MIN) build dist *.egg-info docs/_build docs/agents docs/api docs/environments docs/experiments
