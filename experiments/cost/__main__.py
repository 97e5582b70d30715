"""``make bench``: python -m experiments.cost --repeats 5"""

import os
from datetime import date
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli

from atv.bundled import BUNDLED
from atv.records.files import writable
from atv.records.provenance import provenance
from experiments.cost import cells, gpu, mask_making, new_values, result_page, scaling, whole_models
from experiments.cost.workload import Shape


def bench(
    output: Path = Path("docs/cost"),
    repeats: int = 3,
    threads: int = 2,
    peer: Path = Path(".venv-peers/bin/python"),
    shape: Shape = Shape(),  # noqa: B008
    growth: Shape = scaling.BASE,
    asked: str = BUNDLED,
    samples: int = 128,
    groups: int = 20,
) -> None:
    """Measure what pruning costs and write a page named by date and hardware.

    Args:
        output: Folder for the page, its plot and its numbers.
        repeats: Number of interleaved repeats of every comparison.
        threads: Number of threads that each side may use.
        peer: Python of an environment with llm-compressor; if there is none, the comparison is skipped.
        shape: Model and samples of the main table.
        growth: Smallest model and samples of the growth curves.
        asked: Model whose ablation cells are timed, "bundled" or "everyday".
        samples: Calibration samples of these cells; 32 are enough for the everyday model, whose cells take minutes.
        groups: Number of question groups per task in these cells.
    """
    writable(output, "output")
    torch.set_num_threads(threads)
    load_before = os.getloadavg()[0]
    model_rows, remarks = whole_models.rows(shape, repeats, threads, peer)
    update_rows, update_remarks = new_values.rows(repeats, threads, peer)
    further_rows = [
        *update_rows,
        *mask_making.rows(shape, 2 * repeats + 1),
        *cells.rows(repeats, asked, samples, groups),
    ]
    growths = scaling.growths(growth, repeats)
    gpu_rows, gpu_remarks = gpu.rows()
    facts: dict[str, Any] = {
        "model": str(shape),
        "repeats": repeats,
        "asked": f"{asked}, {samples} samples, {groups} groups per task",
        "load before": round(load_before, 2),
    } | provenance()
    rows, remarks = [*model_rows, *further_rows, *gpu_rows], [*remarks, *update_remarks, *gpu_remarks]
    page = result_page.write(output, result_page.CostResults(date.today().isoformat(), facts, rows, growths, remarks))
    print(page.read_text() + f"\nwritten to {page}")


if __name__ == "__main__":
    auto_cli(bench, as_positional=False)
