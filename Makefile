# Every target sets up what it needs; `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
BIN := $(VENV)/bin
ARGS ?=
export WANDB_SILENT ?= true
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help install ablation-visual-sparsity ablation-main-results ablation-beyond-paper report report-check test test-slow lint models bench bench-memory bench-setup train-tiny wheel clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 28

install: $(VENV)/.installed  ## make the virtual environment with pinned versions

$(VENV)/.installed: setup.cfg setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "atv needs Python 3.11 or newer; try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check torch -c constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

ablation-visual-sparsity: install  ## the main job: how much may each pathway lose (about 10 minutes on 2 cores)
	$(BIN)/atv ablate --file ablations/visual_sparsity.py $(ARGS)

ablation-main-results: install  ## every method at 50%, 60%, 2:4 and 4:8
	$(BIN)/atv ablate --file ablations/main_results.py $(ARGS)

ablation-beyond-paper: install  ## other pools and updates than ATV's, at 60%
	$(BIN)/atv ablate --file ablations/beyond_paper.py $(ARGS)

report: install  ## one page of all ablations' results, results/report/report.html
	$(BIN)/atv report $(ARGS)

report-check: install  ## the page in headless Chromium, installed by apt-get where there is none
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }
	CHROMIUM=$${CHROMIUM:-chromium} $(BIN)/python -m pytest tests/reporting $(ARGS)

test: install  ## the tests, in under 8 minutes on 2 cores
	$(BIN)/python -m pytest $(ARGS)

test-slow: install  ## all tests, the slow ones too
	$(BIN)/python -m pytest -m "slow or not slow" $(ARGS)

lint: install  ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

models: install  ## renew the table of model types (atv models, docs/models.md) from the conformance suite
	PYTHONPATH=tests $(BIN)/python tests/conformance/make.py

bench: install  ## what pruning costs, beside the floor and llm-compressor (under 15 minutes on 2 cores)
	$(BIN)/python -m atv.cost --peer $(PEERS)/bin/python $(ARGS)

bench-memory: install  ## peak memory of a 2 B model, its blocks on disk against whole (8 GB of disk)
	$(BIN)/python -m atv.cost.memory $(ARGS)

bench-setup: $(PEERS)/.installed  ## make the environment of llm-compressor for `make bench`

$(PEERS)/.installed: constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -q --disable-pip-version-check torch -c constraints.txt
	$(PEERS)/bin/python -m pip install -q --disable-pip-version-check llmcompressor==0.14.0 transformers==5.17.0
	@touch $@

train-tiny: install  ## train the bundled model from nothing (hours on 2 cores; resumes where it was killed)
	$(BIN)/python -m atv.bundled.training $(ARGS)

wheel: install  ## build dist/atv-*.whl, bundled model included
	$(BIN)/python -m build --wheel

clean:  ## remove what make made, results excepted
	rm -rf $(VENV) $(PEERS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
