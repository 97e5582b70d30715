from importlib.util import find_spec

import pytest
from helpers.tracked_runs import read_all

ABLATION = """
import matplotlib.pyplot as plt
from atv.ablation import Ablation, Cell, Finding
from atv.api import Pathway

DENSE = Pathway("AllTokens", sparsity=0.0)


class MaskOverlap(Ablation):
    name = "mask_overlap"
    question = "Is everything logged?"

    def cells(self, seed):
        text = {"text": Pathway("TextOnly", sparsity=0.6), "visual": DENSE}
        visual = {"text": DENSE, "visual": Pathway("AllTokens", sparsity=0.6)}
        whole = {"both": Pathway("DriftTopK", pattern="2:4")}
        grid = {"text": text, "visual": visual, "both": whole}
        return [Cell({"part": "none"}), *(Cell({"part": name}, own, seed=seed) for name, own in grid.items())]

    def figure(self, table, results):
        figure, axes = plt.subplots(figsize=(2, 2))
        axes.bar(range(len(table)), table["retention"])
        return figure

    def findings(self, results):
        kept = results.retention(part="visual")["average"]
        return [Finding("Something is kept.", "no number", kept, "%", count=results.count(part="visual"))]
"""
SECRET = "a-token-that-nobody-may-see"


@pytest.fixture(scope="session")
def logged(tmp_path_factory):
    """The folder of an ablation of four cells, run from the command line with all loggers; and the options."""
    from atv.cli import main

    folder = tmp_path_factory.mktemp("tracking")
    (folder / "ablation.py").write_text(ABLATION)
    options = ["ablate", "--file", folder / "ablation.py", "--samples", 4, "--groups", 2, "--results", folder]
    options += ["--logger", "[wandb,csv,tensorboard]" if find_spec("tensorboard") else "[wandb,csv]"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DATA_DIR", str(folder / "staging"))
        patch.setenv("MY_SERVICE_TOKEN", SECRET)
        assert main([str(option) for option in options]) == 0
    return folder / "mask_overlap", [str(option) for option in options]


@pytest.fixture(scope="module")
def runs(logged):
    return read_all(logged[0])
