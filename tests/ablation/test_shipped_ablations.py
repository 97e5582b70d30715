from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conformance.table import around

from atv.ablation import Bench, Levels, Results
from atv.ablation.bench import PromptSet
from atv.ablation.findings import Verdict
from atv.ablation.runner import run_ablation
from atv.ablation.store import CellStore
from atv.ablation.writing import write_results
from atv.bundled import BUNDLED, BUNDLED_MODEL
from atv.data.sources import load_calibration, load_evaluation
from atv.evaluation.questions import question_batches
from atv.model.loading import load_model
from atv.model.lvlm import LVLM
from atv.runtime.trainer import quiet_trainer
from experiments.mixture import upcycled

FILES = sorted((Path(__file__).parents[2] / "ablations").glob("*.py"))
# Asked nothing, so quick; the others run from end to end in the slow run.
QUICK = {"drift_profile", "mask_overlap"}
OF_MIXTURES = {"expert_modality"}


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def ablation(request, kinds):
    assert kinds[request.param.stem].name == request.param.stem
    return kinds[request.param.stem]()


def test_cells_differ_and_fit_a_model(ablation, llava):
    cells = ablation.cells(seed=3)
    assert len({cell.title for cell in cells}) == len(cells)
    assert all(cell.seed == 3 for cell in cells if cell.pathways)
    asked = [cell for cell in cells if cell.asked and not cell.measure]
    assert not asked or not asked[0].pathways, "retention refers to the dense model"
    mixture = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}
    lvlm = LVLM.of(around("mixtral", **mixture) if ablation.name in OF_MIXTURES else llava)
    for cell in cells:
        for pathway in cell.pathways.values():
            pathway.plan(lvlm, lvlm.targets(cell.targets))


def test_says_what_it_asks(ablation):
    assert ablation.question.endswith("?") and ablation.__doc__ and ablation.caption


@pytest.fixture(scope="module")
def bench():
    model, processor = load_model(BUNDLED_MODEL)
    prompt_sets = [PromptSet(question_batches(processor, load_evaluation("bundled", "dev", 2), groups=2), 4)]
    return Bench(model, processor, load_calibration("bundled"), prompt_sets, samples=4)


def few_recipes(kind, monkeypatch):
    """A recipe and a rival of one variant each, on two kinds of data, searched by two questions a task."""
    own = kind.findings.__globals__
    few = {"RECIPES": ("update", "SparseGPT"), "RIVALS": ("ATV", "alpha 1")}
    for field, (method, variant) in few.items():
        monkeypatch.setitem(own, field, {method: {variant: own[field][method][variant]}})
    monkeypatch.setitem(own, "BEATS", {"update": ("ATV",)})
    monkeypatch.setitem(own, "COST", {"update": ("ATV", 2.0)})
    monkeypatch.setitem(own, "RUNGS", (2,))
    monkeypatch.setitem(own, "SAMPLES", (2,))
    return partial(kind, Levels.suited(BUNDLED, "0.6", "4:8"))


@pytest.mark.parametrize(
    "name", [pytest.param(file.stem, marks=() if file.stem in QUICK else pytest.mark.slow) for file in FILES]
)
def test_runs_from_cells_to_findings(name, kinds, bench, tmp_path, monkeypatch):
    kind = kinds[name]
    if name == "recipes":
        kind = few_recipes(kind, monkeypatch)
    if name in OF_MIXTURES:
        mixture = upcycled(bench.model, experts=4, chosen=2)
        bench = Bench(mixture, bench.processor, bench.data, bench.prompt_sets, bench.samples)
    store = CellStore(tmp_path / "cells", "bundled", bench)
    trainer = quiet_trainer(enable_progress_bar=False)
    run = run_ablation(kind(), store, range(2), 1, trainer)
    assert run.whole, run.failed
    again = [done.cell for done in run.finished if done.cell.seed == 1]
    assert all(kind().claimed(cell) for cell in again)
    assert {cell.title for cell in kind().cells(1) if cell.pathways and kind().claimed(cell)} <= {
        c.title for c in again
    }
    results = Results(run.finished)
    record = write_results(kind(), results, tmp_path / name, {})
    # As --seeds 0 and --decide leave it.
    rested_on = [done for done in run.finished if done.cell.dense or kind().claimed(done.cell)]
    assert write_results(kind(), Results(rested_on), tmp_path / "claimed", {}).findings == record.findings
    plt.close("all")
    assert len(record.table) and (tmp_path / name / "figure.png").stat().st_size > 8_000
    for finding in kind().findings(results):
        assert finding.verdict in get_args(Verdict)
        assert np.isfinite([finding.ours.low, finding.ours.value, finding.ours.high]).all()
        assert finding.ours.low <= finding.ours.high and finding.count and finding.unit


def test_one_seed_tells_nothing_of_masks_by_other_samples(kinds, monkeypatch):
    kind = kinds["mask_overlap"]
    overlaps = {("visual", "text"): {"a": 0.7, "b": 0.8}, ("text", "text"): {"a": 1.0, "b": 1.0}}
    monkeypatch.setitem(kind.table.__globals__, "overlap", lambda one, other: overlaps[one, other])

    def of(calibration):
        return [SimpleNamespace(cell=SimpleNamespace(seed=0), masks=lambda: calibration)]

    (finding,) = kind().findings(SimpleNamespace(of=of, seeds=lambda calibration: "1 seed"))
    assert finding.claim == "The two masks share more than chance would give." and finding.ours.value == 0.75
    assert kind().table(SimpleNamespace(of=of))["other samples"].isna().all()
