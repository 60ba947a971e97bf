PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test test-slow lint clean

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e '.[dev]'
	touch $@

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m 'not slow'

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) build dist *.egg-info
