# `make` sets everything up and measures what config/config.yaml asks for; `make test` sets up and runs the quick tests.
SHELL := /bin/sh
.DEFAULT_GOAL := run
.PHONY: run setup setup-dev test test-all lint format lock bench clean help

# The first Python 3.11+ that runs; `make PYTHON=...` takes another one.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps
OPTIONS = $$($(BIN)/python workflow/cellfarm/envs/pip_options.py)

# A user's PYTHONPATH would shadow what the locks pin.
unexport PYTHONPATH PYTHONHOME

# An environment knows its own path: in a checkout that was moved it is made again.
ifneq ($(wildcard $(VENV)/.root),)
ifneq ($(shell cat $(VENV)/.root),$(CURDIR))
$(shell rm -rf $(VENV))
endif
endif

run: $(VENV)/.run-ready  ## set up, measure what is stale, print the ranking
	@$(BIN)/snakemake --quiet all

setup: $(VENV)/.run-ready  ## the orchestrator's environment (.venv)

setup-dev: $(VENV)/.dev-ready  ## the same with what tests and lint need

$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo "cellfarm needs Python 3.11 or newer on the PATH (or make PYTHON=...)" >&2; exit 2; }
	@echo "Setting up $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "no virtual environment could be made: on Debian or Ubuntu, apt install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@printf '%s' "$(CURDIR)" >$(VENV)/.root

$(VENV)/.run-ready: envs/cellfarm.txt pyproject.toml | $(BIN)/uv
	@$(INSTALL) $(OPTIONS) --require-hashes -r envs/cellfarm.txt
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev-ready: envs/dev.txt pyproject.toml | $(BIN)/uv
	@$(INSTALL) $(OPTIONS) --require-hashes -r envs/dev.txt
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@ $(VENV)/.run-ready

test: $(VENV)/.dev-ready  ## what one runs before each commit: unit tests, and the pipeline once
	@$(BIN)/python -m pytest -n 2 --dist worksteal tests/smoke tests/unit

test-all: $(VENV)/.dev-ready  ## every test, with the servers and browsers that they need
	@tests/system-packages
	@$(BIN)/python -m pytest -n 3 --dist worksteal  # many tests wait: for this machine's lock, or for a device

lint: $(VENV)/.dev-ready  ## style, types and the workflow's own lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/mypy workflow/cellfarm benchmarks
	$(BIN)/python tests/lint_workflow.py

format: $(VENV)/.dev-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

lock: $(VENV)/.dev-ready  ## resolve every lock in envs/ anew
	for name in cellfarm dev; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header $(OPTIONS) envs/$$name.in -o envs/$$name.txt || exit 1; done
	$(BIN)/cellfarm lock

bench: $(VENV)/.dev-ready  ## the figures in docs/benchmarks.md, measured anew
	$(BIN)/python -m benchmarks

clean:  ## everything that can be made again, except results and reports
	rm -rf $(VENV) .envs .snakemake build

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12
