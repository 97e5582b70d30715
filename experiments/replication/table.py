"""Our results beside the replication's own table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from atv.evaluation.answer_tables import read_answers
from atv.records.files import atomic, write_text
from atv.records.page_parts import markdown
from experiments.replication.grid import BENCHMARKS, TEXT, Replica
from experiments.runs import PaperRun

# Scores on MMBench (each of 4,329 rows counts by itself), MMMU and OK-VQA, by method and calibration benchmark.
DENSE_PRINTED = (74.40, 37.56, 47.73)
PRINTED = {
    "atv_mmbench": (65.98, 32.11, 41.55),
    "atv_mmmu": (61.77, 31.89, 37.47),
    "atv_ok_vqa": (58.76, 30.44, 41.08),
    "atv_text_mmbench": (64.09, 28.67, 39.24),
    "atv_text_mmmu": (60.65, 29.11, 36.77),
    "atv_text_ok_vqa": (55.93, 30.11, 38.51),
    "tamp_mmbench": (55.15, 31.00, 28.05),
    "tamp_mmmu": (52.66, 30.44, 31.46),
    "tamp_ok_vqa": (49.31, 28.67, 37.03),
    "tamp_text_mmbench": (0.60, 26.11, 1.67),
    "tamp_text_mmmu": (36.34, 25.67, 19.69),
    "tamp_text_ok_vqa": (22.85, 24.44, 19.96),
    "wanda_mmbench": (56.79, 30.56, 35.12),
    "wanda_mmmu": (48.80, 28.44, 30.00),
    "wanda_ok_vqa": (47.34, 26.78, 35.94),
    "sparsegpt_mmbench": (63.06, 31.56, 38.36),
    "sparsegpt_mmmu": (56.70, 30.56, 33.55),
    "sparsegpt_ok_vqa": (47.51, 26.11, 39.74),
}
PRINTED_FOR = "cosmos3_edge"


def scores(run: PaperRun) -> tuple[float, ...]:
    """The mean credit of each benchmark's questions in %; every rotation counts by itself."""
    answers = [read_answers(run.scores / name / "answers.jsonl") for name in BENCHMARKS]
    return tuple(100 * float(rows["credit"].astype("float64").mean()) for rows in answers)


def retention(pruned: Sequence[float], dense: Sequence[float]) -> float:
    """Mean over benchmarks of pruned / dense score, in %; benchmarks where the dense model scores 0 do not count.

    >>> round(retention(PRINTED["atv_mmbench"], DENSE_PRINTED), 1)
    87.1
    """
    return 100 * float(
        np.mean([score / reference for score, reference in zip(pruned, dense, strict=True) if reference])
    )


def joint_wins(found: dict[str, tuple[float, ...]]) -> tuple[int, int]:
    """How often ATV's joint forward pass scores higher than its text alone, and how many scores both have."""
    pairs = [
        (joint, text_alone)
        for name, joint_scores in found.items()
        if name.startswith("atv_") and (text_scores := found.get(name.replace("atv_", f"atv{TEXT}_", 1)))
        for joint, text_alone in zip(joint_scores, text_scores, strict=True)
    ]
    return sum(joint > text_alone for joint, text_alone in pairs), len(pairs)


def write_table(folder: Path, dense: PaperRun, runs: Sequence[PaperRun]) -> str:
    """Writes table.md, whose text is returned, and table.csv: a row per finished run, beside the replication's."""
    dense_scores = scores(dense)
    scores_by_run = {run.name: scores(run) for run in runs if run.evaluated()}
    variants = {run.name: run.variant for run in runs}
    header = ["method", "calibrated on", *BENCHMARKS, "mean retention %", "replication", "its mean retention %"]
    rows = [["dense", "", *_score_cells(dense_scores), "", _score_text(DENSE_PRINTED) if _same_model(runs) else "", ""]]
    for name, run_scores in scores_by_run.items():
        variant = variants[name]
        assert isinstance(variant, Replica)
        printed = PRINTED[name] if _same_model(runs) else None
        printed_mean = "" if printed is None else f"{retention(printed, DENSE_PRINTED):.1f}"
        cells = [*_score_cells(run_scores), f"{retention(run_scores, dense_scores):.1f}"]
        rows.append([f"{variant.method}{variant.stream}", variant.setting, *cells, _score_text(printed), printed_mean])
    wins, pairs = joint_wins(scores_by_run)
    wins_line = f"\nATV: joint wins {wins} of {pairs} (9 of 9 in the replication).\n" if pairs else ""
    text = f"{markdown(header, rows)}\n{wins_line}"
    write_text(folder / "table.md", text)
    with atomic(folder / "table.csv") as path:
        pd.DataFrame(rows, columns=header).to_csv(path, index=False)
    return text


def _same_model(runs: Sequence[PaperRun]) -> bool:
    """Whether all runs are of the model that the replication pruned."""
    return all(run.variant is not None and run.variant.model_file.stem == PRINTED_FOR for run in runs)


def _score_cells(values: Sequence[float]) -> list[str]:
    return [f"{score:.2f}" for score in values]


def _score_text(values: Sequence[float] | None) -> str:
    return "" if values is None else " / ".join(_score_cells(values))
