# Everything a person or a script needs; `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The index that holds torch's CPU build, used where no NVIDIA device is found. Without it pip's own index decides.
TORCH_CPU_INDEX ?=
EXTRAS := worker,local

.DEFAULT_GOAL := help
.PHONY: help up setup test bench check format lint types imports dead-code docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: $(VENV)/up ## install, then run the whole farm here until Ctrl-C
	@exec $(BIN)/fluxfarm up $(UP)

setup: $(VENV)/up ## install only

test: $(VENV)/dev ## install, then run the tests
	$(BIN)/pytest -n 2 --dist loadgroup $(TESTS)

bench: $(VENV)/up ## install, then measure what this machine gives, beside a bare Flask and Celery
	@$(BIN)/python -m benchmarks.bench $(BENCH)

check: $(VENV)/dev lint types imports dead-code ## everything that must hold: format, lint, types, imports, dead code, tests
	$(BIN)/pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered --cov-report=xml:coverage.xml

format: $(VENV)/dev ## put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/dev
	$(BIN)/mypy

imports: $(VENV)/dev
	$(BIN)/lint-imports

dead-code: $(VENV)/dev
	$(BIN)/vulture

docs: $(VENV)/up ## write docs/settings.md anew from the settings themselves
	$(BIN)/fluxfarm settings --markdown > docs/settings.md

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

$(VENV)/up: pyproject.toml $(VENV)/torch
	@echo "installing fluxfarm and what it needs"
	@$(BIN)/pip install -q -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

$(VENV)/dev: $(VENV)/up
	@echo "installing the tools for tests and checks"
	@$(BIN)/pip install -q -c constraints.txt -e '.[$(EXTRAS),dev]'
	@touch $@
