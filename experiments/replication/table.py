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
    return 100 * float(np.mean([after / before for after, before in zip(pruned, dense, strict=True) if before]))


def joint_wins(found: dict[str, tuple[float, ...]]) -> tuple[int, int]:
    """How often ATV's joint forward pass scores higher than its text alone, and how many scores both have."""
    pairs = [
        (joint, alone)
        for name, own in found.items()
        if name.startswith("atv_") and (other := found.get(name.replace("atv_", f"atv{TEXT}_", 1)))
        for joint, alone in zip(own, other, strict=True)
    ]
    return sum(joint > alone for joint, alone in pairs), len(pairs)


def write_table(folder: Path, dense: PaperRun, runs: Sequence[PaperRun]) -> str:
    """Writes table.md, whose text is returned, and table.csv: a row per finished run, beside the replication's."""
    before = scores(dense)
    found = {run.name: scores(run) for run in runs if run.evaluated()}
    variants = {run.name: run.variant for run in runs}
    heads = ["method", "calibrated on", *BENCHMARKS, "mean retention %", "replication", "its mean retention %"]
    rows = [["dense", "", *_shown(before), "", _joined(DENSE_PRINTED) if _printed(runs) else "", ""]]
    for name, own in found.items():
        variant = variants[name]
        assert isinstance(variant, Replica)
        theirs = PRINTED[name] if _printed(runs) else None
        kept = "" if theirs is None else f"{retention(theirs, DENSE_PRINTED):.1f}"
        ours = [*_shown(own), f"{retention(own, before):.1f}"]
        rows.append([f"{variant.method}{variant.stream}", variant.setting, *ours, _joined(theirs), kept])
    wins, of = joint_wins(found)
    compared = f"\nATV: joint wins {wins} of {of} (9 of 9 in the replication).\n" if of else ""
    text = f"{markdown(heads, rows)}\n{compared}"
    write_text(folder / "table.md", text)
    with atomic(folder / "table.csv") as path:
        pd.DataFrame(rows, columns=heads).to_csv(path, index=False)
    return text


def _printed(runs: Sequence[PaperRun]) -> bool:
    """Whether all runs are of the model that the replication pruned."""
    return all(run.variant is not None and run.variant.model_file.stem == PRINTED_FOR for run in runs)


def _shown(found: Sequence[float]) -> list[str]:
    return [f"{score:.2f}" for score in found]


def _joined(found: Sequence[float] | None) -> str:
    return "" if found is None else " / ".join(_shown(found))
