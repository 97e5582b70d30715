"""What should a model be calibrated on? (In a public replication, data alone change ATV-Pruning by 7 points.)"""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd
from matplotlib.figure import Figure

from atv.ablation import Ablation, Cell, Finding, Labels, Results, percent
from atv.ablation.charts import PALETTE, averages, panels, sample_sizes
from atv.api import Pathway
from atv.bundled.tasks import TASKS
from atv.data import BundledScenes, CalibrationData, EverydayScenes, Mixture
from atv.everyday.assembly.made_folder import EVERYDAY

METHODS = {"ATV": "DriftTopK", "Wanda": "AllTokens"}
# The run's own data: captions and questions in one dialogue.
POOL = "pool"
# Counterparts of the replication's three benchmarks: OK-VQA, MMBench, MMMU.
OWN_TASKS = ("knowledge", "circular", "multistep")


class CalibrationDomain(Ablation):
    """ATV-Pruning and Wanda, calibrated on captions, questions, their answers, facts, some of the tasks, or mixtures.

    Facts have no picture. All other data are about training scenes, so nothing is calibrated on what is asked.
    """

    name = "calibration_domain"
    question = "On what should a model be calibrated, and does that matter more than the method?"
    seeds = 3

    def cells(self, seed: int) -> Sequence[Cell]:
        self.levels.require_own_scenes(self.name)
        grid = [Cell({"method": "dense", "calibration": "-"})]
        for method, selection in METHODS.items():
            pruned = {"both": Pathway(selection, self.levels.middle)}
            for domain, data in self._domains().items():
                grid.append(Cell({"method": method, "calibration": domain}, pruned, seed=seed, calibration=data))
        return grid

    def _domains(self) -> dict[str, CalibrationData | None]:
        scenes = EverydayScenes if self.levels.model == EVERYDAY else BundledScenes
        tasks = [task.name for task in TASKS]
        single_tasks = {f"{task} alone": scenes("answers", [task]) for task in OWN_TASKS}
        all_but_one = {
            f"all but {task}": scenes("answers", [name for name in tasks if name != task]) for task in OWN_TASKS
        }
        data_by_kind = {kind: scenes(kind) for kind in ("captions", "questions", "answers", "facts")}
        pairs = combinations(("captions", "answers", "facts"), 2)
        mixtures = {
            f"{first_kind} + {second_kind}": Mixture([data_by_kind[first_kind], data_by_kind[second_kind]])
            for first_kind, second_kind in pairs
        }
        return {POOL: None, **data_by_kind, **single_tasks, **all_but_one, **mixtures}

    def claimed(self, cell: Cell) -> bool:
        return cell.labels["method"] == "ATV" or cell.labels["calibration"] == POOL

    def figure(self, table: pd.DataFrame, results: Results) -> Figure:
        average = averages(table)
        figure, _ = panels(
            average,
            by="method",
            titles=list(METHODS),
            line="calibration",
            names=list(self._domains()),
            size=(10, 4.8),
            colors=PALETTE,
        )
        sparsity = percent(self.levels.middle)
        figure.suptitle(f"{sparsity} sparsity by calibration data, {sample_sizes(average)}", fontsize=10)
        return figure

    def findings(self, results: Results) -> Sequence[Finding]:
        return [
            _keeps_more_on(results, "Answers help", "answers", "questions"),
            _keeps_more_on(results, "Pictures help", "captions", "facts"),
            *(_keeps_more_on(results, f"On {task}", f"{task} alone", f"all but {task}", task) for task in OWN_TASKS),
            *(_as_good(results, "captions + answers", half) for half in ("captions", "answers")),
            results.lie_further_apart(
                "Data matter more than the method: captions exceed facts by more than ATV-Pruning exceeds Wanda.",
                (_labels("captions"), _labels("facts")),
                (_labels(POOL), _labels(POOL, "Wanda")),
            ),
        ]


def _labels(domain: str, method: str = "ATV") -> Labels:
    return {"method": method, "calibration": domain}


def _keeps_more_on(results: Results, why: str, domain: str, other_domain: str, task: str = "average") -> Finding:
    claim = f"{why}: calibrated on {domain!r}, ATV-Pruning keeps more than on {other_domain!r}."
    return results.keeps_more(claim, _labels(domain), _labels(other_domain), task=task)


def _as_good(results: Results, mixture: str, half: str) -> Finding:
    claim = f"calibrated on {mixture!r}, ATV-Pruning keeps as much as on {half!r}, to within 1 point."
    return results.keeps_as_much(f"A mixture is as good: {claim}", _labels(mixture), _labels(half))
