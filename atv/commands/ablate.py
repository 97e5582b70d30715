"""``atv ablate``"""

import inspect
from pathlib import Path
from typing import Any

from rich.console import Console

from atv import plugins
from atv.ablation.base import Ablation
from atv.ablation.dashboard import log_run
from atv.ablation.runner import Bench, run_ablation
from atv.ablation.tables import long_table, write_tables
from atv.files import atomic, writable, write_json
from atv.loading import BUNDLED, load_calibration, load_evaluation, load_model, model_folder
from atv.provenance import git_revision, hardware, versions
from atv.trainer import quiet_trainer


def ablate(
    file: Path,
    model: str = BUNDLED,
    calibration: str = BUNDLED,
    samples: int = 128,
    evaluation: str = BUNDLED,
    split: str = "test",
    groups: int | None = 150,
    max_new_tokens: int = 8,
    seed: int = 0,
    results: Path = Path("results"),
    trainer: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Run an ablation's grid; finished cells are not run again, a killed run goes on.

    Writes table.md, table.csv, figure.png and a W&B run (offline unless you are logged in) to results/<ablation>/.

    Args:
        file: Python file with one class derived from atv.ablation.base.Ablation, such as ablations/visual_sparsity.py.
        model: Folder of an LVLM, or "bundled".
        calibration: Folder of a saved data set with columns image and conversation, or "bundled".
        samples: Calibration samples, drawn by the seed.
        evaluation: Folder of a saved data set with the bundled columns, or "bundled".
        split: Of the bundled suite: dev or test.
        groups: Only the first so many groups of questions of each task; null for all.
        max_new_tokens: Longest answer.
        seed: Of the samples drawn and of rules that draw.
        results: Folder above all ablations' folders.
        trainer: Options of lightning.Trainer, as --trainer.accelerator gpu.
        trust_remote_code: Whether code that comes with the model may run.
    """
    folder = model_folder(model)
    before = set(plugins.subclasses(Ablation))  # type: ignore[type-abstract]
    plugins.load_file(file)
    found = [kind for kind in plugins.subclasses(Ablation) if kind not in before]  # type: ignore[type-abstract]
    if len(found) != 1:
        raise ValueError(f"file: {str(file)!r} must define one Ablation, it defines {len(found)}")
    ablation = found[0]()
    target = writable(results / ablation.name, "results")
    runner = quiet_trainer(**({"enable_progress_bar": False} | (trainer or {})))
    console = Console(quiet=not runner.is_global_zero)
    console.print(f"[bold]{ablation.question}[/bold]\n{inspect.getdoc(ablation)}")
    lvlm, processor = load_model(folder, trust_remote_code)
    with console.status("reading calibration samples and questions"):
        data = load_calibration(calibration), load_evaluation(evaluation, split)
        bench = Bench.of(lvlm, processor, *data, samples, groups, seed, max_new_tokens)
    finished = run_ablation(ablation, bench, folder, results, seed, runner)
    if not runner.is_global_zero:
        return
    table = long_table(finished)
    write_tables(target, table, list(finished[0].cell.labels), ablation.question)
    with atomic(target / "figure.png") as path:
        ablation.figure(table).savefig(path, dpi=160, format="png")
    origin = {"model": model, "calibration": calibration, "samples": samples, "evaluation": evaluation, "split": split}
    made = {"seed": seed, "versions": versions(), "git": git_revision(), "hardware": hardware()}
    write_json(target / "run.json", origin | {"groups": groups, "cells": len(finished)} | made)
    wandb_run = log_run(ablation, finished, table, target)
    console.print(f"table, figure and W&B run are in {target} (the run: {wandb_run})")
