# Two commands do everything on a bare machine with git and Python >= 3.11:
#   make repro    sets up .venv and runs the whole pipeline on the embedded phantom cohort
#   make test     sets up .venv and runs the tests
SHELL  := /bin/bash
VENV   := .venv
BIN    := $(CURDIR)/$(VENV)/bin
# the first of these that is new enough; `make PYTHON=/path/to/python` overrides
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
export PATH := $(BIN):$(PATH)
export PYTHONPATH := src

.PHONY: repro test smoke lint clean help

help:            ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:[^#]*##/\t/'

repro: $(VENV)/run.stamp    ## run the whole pipeline (dvc repro); TARGETS=evaluate@mmccd for a part
	dvc repro $(TARGETS)

test: $(VENV)/test.stamp    ## style and all tests
	ruff check .
	OMP_WAIT_POLICY=PASSIVE pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

smoke: $(VENV)/run.stamp    ## the whole pipeline at the smallest scale, in a copy of the committed tree
	.ci/smoke

lint: $(VENV)/test.stamp    ## style only
	ruff check .

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 on the PATH; install one, or: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/test.stamp: requirements-test.txt $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	@touch $@

clean:           ## remove what can be made again, but neither checkpoints nor the DVC cache
	rm -rf dvc_plots .pytest_cache .ruff_cache; find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
