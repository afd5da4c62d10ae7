# Two commands do everything: `make demo` and `make test`. Both make their own .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEMO_WORKSPACE ?= demo-workspace

.PHONY: help demo test test-slow check format bench phantom-shortcut phantom-looks clean
.DEFAULT_GOAL := help

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "wsi-tower needs Python 3.11 or later; name one with make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "$(PYTHON) has no venv; on Debian: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing wsi-tower into $(VENV) …"
	@$(PIP) install --quiet --constraint constraints.txt pip
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[umap]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing test tools into $(VENV) …"
	@$(PIP) install --quiet --constraint constraints.txt --group dev
	@touch $@

demo: $(VENV)/.run  ## Run every stage on phantom slides, or on yours: make demo SLIDES=folder
	@$(BIN)/wsi-tower demo $(SLIDES) --workspace $(DEMO_WORKSPACE)

test: $(VENV)/.dev  ## Quick tests (minutes).
	@$(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist loadfile

test-slow: $(VENV)/.dev  ## The long ones: large slides, kills at many moments.
	@$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev  ## Lint, format and types.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.dev  ## Let ruff format the code.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev  ## Benchmarks: a table, and benchmarks/results/*.json
	@$(BIN)/python -m benchmarks.tiling
	@$(BIN)/python -m benchmarks.reduced
	@$(BIN)/python -m benchmarks.reads
	@$(BIN)/python -m benchmarks.peers
	@$(BIN)/python -m benchmarks.growth
	@$(BIN)/python -m benchmarks.pairs
	@$(BIN)/python -m benchmarks.feed
	@$(BIN)/python -m benchmarks.methods
	@$(BIN)/python -m benchmarks.embed
	@$(BIN)/python -m benchmarks.index

phantom-shortcut: $(VENV)/.dev  ## Does colour give tumour away on phantoms? (minutes)
	@$(BIN)/python -m benchmarks.phantom_shortcut --check

phantom-looks: $(VENV)/.dev  ## Phantom beside real crops: sheet and table (minutes)
	@$(BIN)/python -m benchmarks.phantom_looks

clean:  ## Remove .venv, caches and the demo's workspace.
	rm -rf $(VENV) $(DEMO_WORKSPACE) .pytest_cache .mypy_cache .ruff_cache .hypothesis
