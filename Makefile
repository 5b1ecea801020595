# Every target sets up what it needs in .venv; `make` alone prints this list.
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip install --quiet --disable-pip-version-check
WORKERS ?= 2
ARGS    ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test bench ppl lint format types clean distclean

help:  ## print this list
	@echo "make <target> [ARGS='...']   (ARGS is passed on to the command of the target)"
	@sed -n 's/^\([a-z]*\):.*## /  \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-11s %s\n", $$1, $$2 }'

demo: $(VENV)/.stamp-demo  ## run a first product and a first text on the simulated hardware
	@$(BIN)/ianus demo $(ARGS)

test: lint types  ## lint, format check, types, then all tests but the long ones (WORKERS=2 at once)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not long" $(ARGS)

bench: $(VENV)/.stamp-demo  ## measure cycles and speed: `ianus bench`
	@$(BIN)/ianus bench $(ARGS)

ppl: $(VENV)/.stamp-demo  ## perplexity: make ppl ARGS="--model DIR --text FILE"
	@$(BIN)/ianus ppl $(ARGS)

lint: $(VENV)/.stamp-test  ## ruff check, and ruff format --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.stamp-test  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.stamp-test  ## mypy
	$(BIN)/mypy

clean:  ## remove everything generated, but not the environment
	rm -rf build dist
	find . -path './$(VENV)' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove the environment too
	rm -rf $(VENV)

# pip is the last thing venv writes: without it the environment is not whole.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed, and $(PYTHON) is not; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	  { echo "$(PYTHON) lacks venv (on Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# Installed again only when pyproject.toml is newer; sources are used in place (-e).
$(VENV)/.stamp-demo: pyproject.toml | $(BIN)/pip
	@echo "installing ianus[sim]"
	@$(PIP) -e '.[sim]'
	@touch $@

$(VENV)/.stamp-test: pyproject.toml | $(BIN)/pip
	@echo "installing ianus[sim,cosim,fpga,prove,test]"
	@$(PIP) -e '.[sim,cosim,fpga,prove,test]'
	@touch $(VENV)/.stamp-demo $@
