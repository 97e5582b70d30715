"""Ablations run in turn on one grid, from Python."""

import pytest
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell
from atv.ablation.grid import GridSettings
from atv.ablation.grid_run import GridRun, RunSettings
from atv.ablation.levels import UnsuitedModel
from atv.ablation.shard import Shard
from atv.api import Pathway
from atv.runtime.trainer import quiet_trainer


class TextAlone(Ablation):
    name = question = "text_alone"
    rule = "TextOnly"

    def cells(self, seed):
        return [Cell({"pool": "dense"}), Cell({"pool": self.name}, {"both": Pathway(self.rule, 0.5)}, seed=seed)]

    def figure(self, table, results):
        return Figure()


class PicturesAlone(TextAlone):
    name = question = "pictures_alone"
    rule = "VisualOnly"


@pytest.fixture
def prepared(tmp_path):
    """Makes a grid of the bundled model ready, of one group a task."""

    def made(options=None, **how):
        settings = RunSettings(GridSettings(samples=2, groups=1, max_new_tokens=1, results=tmp_path / "results"), **how)
        return GridRun.prepared(
            settings, quiet_trainer(accelerator="cpu", enable_progress_bar=False, **(options or {}))
        )

    return made


def test_ablations_are_run_as_they_are_asked_for_and_share_the_dense_cell(prepared):
    grid_run, told = prepared(), []
    for outcome in grid_run.run([TextAlone(), PicturesAlone()], before=lambda ablation: told.append(ablation.name)):
        assert told[-1] == outcome.ablation.name and outcome.cells.whole and outcome.decided is None
        told.append(outcome.cells.made)
        assert grid_run.grid.write(outcome).record.run["name"] == outcome.ablation.name
    assert told == ["text_alone", 2, "pictures_alone", 1]


def test_a_shard_leaves_the_other_cells(prepared):
    (outcome,) = prepared(shard=Shard(1, 2)).run([TextAlone()])
    assert [done.cell.dense for done in outcome.cells.finished] == [True] and len(outcome.cells.missing) == 1


def test_a_model_that_an_ablation_is_not_for_leaves_it_out_of_several_and_refuses_it_alone(prepared):
    class OfExperts(TextAlone):
        name = question = "of_experts"

        def cells(self, seed):
            pruned = {"both": Pathway("AllTokens", 0.5, pattern="WholeExperts")}
            return [Cell({"pool": "dense"}), Cell({"pool": "all"}, pruned)]

    grid_run, alone = prepared(), TextAlone()
    with pytest.warns(UserWarning, match=r"of_experts is left out: file: no cell of of_experts fits this model"):
        outcomes = grid_run.run([OfExperts(), alone])
    assert alone.calibration_data is grid_run.grid.store.bench.data
    assert [each.ablation for each in outcomes] == [alone]
    with pytest.raises(UnsuitedModel, match="no cell of of_experts fits this model"):
        grid_run.run([OfExperts()])


def test_what_does_not_fit_is_refused_before_a_cell_is_run(prepared):
    with pytest.raises(ValueError, match=r"trainer\.precision: expected 32-true"):
        prepared({"precision": "bf16-mixed"})
    with pytest.raises(ValueError, match=r"trainer\.limit_predict_batches: expected 1\.0, got 3"):
        prepared({"limit_predict_batches": 3})
    with pytest.raises(ValueError, match="processes: expected 1 if the trainer has several devices, got 2"):
        prepared({"devices": 2}, processes=2)
    with pytest.raises(ValueError, match="processes: expected 1 without a command line for the others, got 2"):
        prepared(processes=2).run([TextAlone()])
    with pytest.raises(ValueError, match="processes: expected 1 or more, and no shard if there are several; got 2"):
        prepared(processes=2, shard=Shard(1, 2))
