from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from atv import plugins
from atv.ablation.base import Ablation
from atv.lvlm import LVLM

FILES = sorted((Path(__file__).parents[1] / "ablations").glob("*.py"))


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def ablation(request):
    before = set(plugins.subclasses(Ablation))
    plugins.load_file(request.param)
    (kind,) = set(plugins.subclasses(Ablation)) - before
    assert kind.name == request.param.stem
    return kind()


def test_the_grid_starts_dense_and_every_cell_fits_a_model(ablation, llava):
    cells = ablation.cells(seed=3)
    assert not cells[0].pathways and all(cell.pathways and cell.seed == 3 for cell in cells[1:])
    assert len({cell.title for cell in cells}) == len(cells)
    lvlm = LVLM.of(llava)
    for cell in cells:
        for pathway in cell.pathways.values():
            pathway.plan(lvlm, lvlm.targets(cell.targets))


def test_the_figure_is_drawn(ablation, tmp_path):
    numbers = {"task": "average", "retention": 90.0, "low": 85.0, "high": 95.0, "questions": 7}
    figure = ablation.figure(pd.DataFrame([{**cell.labels, **numbers} for cell in ablation.cells(seed=0)]))
    figure.savefig(tmp_path / "figure.png")
    plt.close(figure)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
