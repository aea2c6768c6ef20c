# OpenHearth. Needs python3 (3.11 or newer) with venv, and make; everything else is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HEARTH := $(BIN)/hearth
MODEL ?= qwen2.5-coder-1.5b
WORKERS ?= 2
QUESTION ?= Which customer spent the most in March, and how much?

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo chat test quick lint format bench clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

# Each stamp is renewed when pyproject.toml or the C sources change, so that a second call costs nothing.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit("OpenHearth needs Python 3.11 or newer; call: make PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

KERNELS := $(wildcard models/kernels/csrc/*.[ch]) models/kernels/build.py setup.py

$(VENV)/.runtime: $(VENV)/.made pyproject.toml $(KERNELS)
	@echo "Installing OpenHearth into $(VENV) (once; some hundred megabytes)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: $(VENV)/.runtime ## Install OpenHearth into .venv

setup-dev: $(VENV)/.dev ## The same, with everything the tests need

demo: setup ## An agent on a local model answers a question by computing
	@$(HEARTH) models pull $(MODEL)
	@$(HEARTH) run --model $(MODEL) --workspace examples/data --approve auto "$(QUESTION)"

chat: setup ## The terminal chat
	@$(HEARTH) chat --model $(MODEL) --workspace examples/data

lint: setup-dev ## ruff, mypy and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

quick: setup-dev ## The tests that take under a minute
	@$(BIN)/pytest -q -n $(WORKERS) -m 'not slow and not large' tests/unit tests/snapshots

test: lint ## Everything: lint and all tests
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup

bench: setup-dev ## The benchmarks, as ratios against their peers; writes docs/benchmarks.md
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@$(BIN)/python benchmarks/_record.py $(if $(VLLM_PYTHON),--vllm-python $(VLLM_PYTHON))

clean: ## Remove what was built here
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
