PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
MINUTES ?= 10
export MLXD_HOME ?= .mlxd

.PHONY: help run stop test test-fast soak check bad-requests format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlxd needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@$(BIN)/python -m compileall -q mlxd mlxctl
	@touch $@

run: $(VENV)/.stamp ## start the daemon with a real model and ask it a question
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo.sh

stop: $(VENV)/.stamp ## stop the daemon that `make run` started
	@$(BIN)/mlxctl stop || [ $$? -eq 3 ]  # 3: there is nothing to stop

test: $(VENV)/.stamp ## run the whole test suite
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/.stamp ## run the tests that start no daemon and ask no real model
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

soak: $(VENV)/.stamp ## overload and disturb a daemon for MINUTES (10), and see what it loses
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

check: $(VENV)/.stamp ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bad-requests: $(VENV)/.stamp ## send COUNT bad requests (20000; SEED=1) to a daemon, beside good streams
	$(BIN)/python -m tests.bad_requests $(or $(COUNT),20000) --seed $(or $(SEED),1)

format: $(VENV)/.stamp ## format, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and all caches
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache
