# Everything a person or a script needs; `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The index that holds torch's CPU build, used where no NVIDIA device is found. Without it pip's own index decides.
TORCH_CPU_INDEX ?=
MINUTES ?= 30
SEED ?= 7

# torch comes in several builds, each with hashes of its own: it is pinned by version alone.
LOCK := $(VENV)/lock/bin/pip-compile --generate-hashes --strip-extras --no-annotate --no-header --no-emit-index-url \
	--no-emit-find-links --unsafe-package torch --unsafe-package setuptools -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help up setup test bench chaos seeded-bugs scores train check format lint types imports dead-code audit lock docs
.PHONY: clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: $(VENV)/up ## install, then run the whole farm here until Ctrl-C
	@exec $(BIN)/fluxfarm up $(UP)

setup: $(VENV)/up ## install only

test: $(VENV)/dev ## install, then run the tests
	$(BIN)/pytest -n 2 --dist loadgroup $(TESTS)

bench: $(VENV)/up ## install, then measure what this machine gives, beside a bare Flask and Celery
	@$(BIN)/python -m benchmarks.bench $(BENCH)

chaos: $(VENV)/dev ## break a farm by a seeded schedule and count what is lost: MINUTES=30 SEED=7
	@$(BIN)/python -m benchmarks.chaos --seed $(SEED) --minutes $(MINUTES) $(CHAOS)

seeded-bugs: $(VENV)/dev ## put known bugs into a copy, one at a time, and see that a test catches each
	@$(BIN)/python -m benchmarks.seeded_bugs

scores: $(VENV)/up ## install, then score the shipped small weights from their pixels; the last line is JSON
	@$(BIN)/python -m training score $(SCORES)

train: $(VENV)/up ## install, then train the small weights from nothing, or go on (hours on a CPU): PART=all, RUNS=runs
	$(BIN)/python -m training $(or $(PART),all) --runs $(or $(RUNS),runs)

check: $(VENV)/dev lint types imports dead-code audit ## everything that must hold: format, lint, types, imports, audit, tests
	$(BIN)/pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered --cov-report=xml:coverage.xml

format: $(VENV)/dev ## put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/hadolint deploy/Dockerfile.*

types: $(VENV)/dev
	$(BIN)/mypy

imports: $(VENV)/dev
	$(BIN)/lint-imports

dead-code: $(VENV)/dev
	$(BIN)/vulture

audit: $(VENV)/dev
	@report=$$($(BIN)/pip-audit --progress-spinner off --disable-pip --no-deps -r requirements/run.txt 2>&1) || { echo "$$report"; \
		echo "$$report" | grep -q 'ConnectionError\|ServiceError\|SSLError' || exit 1; echo "NOT AUDITED: advisories cannot be reached"; }; \
	skipped=$$(echo "$$report" | grep -c 'could not be audited'); \
	[ "$$skipped" = 0 ] || echo "NOT AUDITED: $$skipped packages, of which this index has no advisories"
	$(BIN)/cyclonedx-py requirements --output-reproducible -o sbom.json requirements/run.txt

lock: $(VENV)/dev ## pin every dependency with its hashes anew, within constraints.txt
	$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install -q -c constraints.txt pip-tools
	$(LOCK) --extra worker --extra local -o requirements/run.txt pyproject.toml
	$(LOCK) --extra worker --extra quantised --extra local --extra dev -o requirements/dev.txt pyproject.toml

docs: $(VENV)/up ## write docs/settings.md and docs/models anew from the settings and the catalogue
	$(BIN)/fluxfarm settings --markdown > docs/settings.md
	$(BIN)/fluxfarm models pages docs/models

clean: ## remove what was installed; data stay
	rm -rf $(VENV) build *.egg-info

$(VENV)/python-ready:
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit("fluxfarm needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name one with PYTHON=…") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/torch: constraints.txt $(VENV)/python-ready
	@echo "installing torch; this is the largest part"
	@if [ -n "$(TORCH_CPU_INDEX)" ] && [ ! -e /dev/nvidiactl ]; then index="--extra-index-url $(TORCH_CPU_INDEX)"; fi; \
	pin=$$(grep '^torch==' constraints.txt); \
	$(BIN)/pip install --progress-bar on -c constraints.txt $$index $$pin
	@touch $@

$(VENV)/up: pyproject.toml requirements/run.txt $(VENV)/torch
	@echo "installing fluxfarm and what it needs"
	@$(BIN)/pip install -q --no-deps --require-hashes -r requirements/run.txt
	@$(BIN)/pip install -q --no-deps -e .
	@touch $@

$(VENV)/dev: requirements/dev.txt $(VENV)/up
	@echo "installing the tools for tests and checks"
	@$(BIN)/pip install -q --no-deps --require-hashes -r requirements/dev.txt
	@touch $@
