"""``atv ablate``"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import ProcessorMixin

from atv.ablation.base import Ablation
from atv.ablation.bench import Bench, Round
from atv.ablation.from_files import load_ablations
from atv.ablation.results import Results
from atv.ablation.runner import Run, run_ablation
from atv.ablation.shard import Shard
from atv.ablation.store import CellStore, model_digest
from atv.ablation.tables import chosen_tasks
from atv.ablation.writing import write_results
from atv.bundled import BUNDLED
from atv.data import CalibrationData
from atv.data.pixel_cap import cap_pixels
from atv.data.sources import load_calibration, load_evaluation
from atv.evaluation.benchmarks.loaded import LoadedBenchmark, chosen_benchmarks, load_all
from atv.evaluation.questions import question_batches
from atv.model.loading import load_model, model_folder
from atv.records.files import from_here, writable
from atv.runtime.trainer import quiet_trainer
from atv.tracking.log import LoggerName, chosen_loggers, log_ablation


class CellsFailed(RuntimeError):
    """Some cells raised; the others are finished and kept."""


def ablate(
    file: list[Path] | Path,
    model: str = BUNDLED,
    calibration: str | CalibrationData = BUNDLED,
    samples: int = 128,
    max_length: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    evaluation: str = BUNDLED,
    split: str = "test",
    benchmark: list[str] | str | None = None,
    data: Path | None = None,
    groups: int | None = 50,
    max_new_tokens: int | None = None,
    seed: int = 0,
    seeds: int = 1,
    shard: str | None = None,
    columns: list[str] | None = None,
    results: Path = Path("results"),
    logger: list[LoggerName] | LoggerName = "wandb",
    trainer: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Run the grids of one or several ablations; finished cells are not run again, a killed run goes on.

    Writes table.md, table.csv, figure.png, findings.json and one W&B run a cell (offline unless you are logged in) to
    results/<ablation>/. Cells are kept in results/cells/ and shared by all ablations.

    Args:
        file: Python file with one class derived from atv.ablation.base.Ablation, such as ablations/visual_sparsity.py;
            a list of such files; or a folder, for all of its.
        model: Folder of an LVLM, hub id (owner/name or owner/name@revision), "bundled" or "everyday".
        calibration: "bundled", file, folder, hub id, or a class name or dotted path, its arguments as for prune.
        samples: Calibration samples, drawn by the seed.
        max_length: Longest calibration sample in tokens; longer ones lose text from their end, never a picture's part.
        min_pixels: Smallest area of a picture, in calibration and evaluation (Qwen-VL's kind).
        max_pixels: Largest area of a picture, likewise.
        evaluation: Folder of a saved data set with the bundled columns, or "bundled".
        split: Of the bundled suite: dev or test.
        benchmark: Ask these in place of the suite: names with commas between them, or a list, as for evaluate.
        data: Folder with a local copy of the benchmarks' data. Default: downloaded from the hub.
        groups: Only the first so many groups of questions of each task; null for all.
        max_new_tokens: Longest answer. Default: 8 for the suite, each benchmark's own.
        seed: The first seed: of the samples drawn and of rules that draw.
        seeds: Of every cell, counted from the first; an ablation takes more of the cells that it claims something of.
        shard: i/n runs every n-th cell, from the i-th on, so that n processes or machines that share the results folder
            run all of them in any order. Tables are written by whoever finds all cells finished.
        columns: Tasks that table.md shows, "average" among them. Default: all.
        results: Folder above the cells and all ablations' folders.
        logger: wandb (offline unless you are logged in or WANDB_MODE says otherwise), csv, tensorboard, a list of
            these, or none.
        trainer: Options of lightning.Trainer, as --trainer.accelerator gpu.
        trust_remote_code: Whether code that comes with the model may run.
    """
    ablations = load_ablations(file)
    part = None if shard is None else Shard.parse(shard)
    if seeds < 1:
        raise ValueError(f"seeds: expected 1 or more, got {seeds}")
    loggers = chosen_loggers(logger)
    folder = model_folder(model, trust_remote_code)
    pool = load_calibration(calibration)
    loaded = [] if benchmark is None else load_all(chosen_benchmarks(benchmark), data, groups)
    if data is not None and not loaded:
        raise ValueError("data: holds benchmarks; name them with --benchmark")
    writable(results, "results")
    runner = quiet_trainer(**({"enable_progress_bar": False} | (trainer or {})))
    console = Console(quiet=not runner.is_global_zero)
    lvlm, processor = load_model(folder, trust_remote_code)
    cap_pixels(processor, min_pixels, max_pixels)
    with console.status("reading questions"):
        if loaded:
            rounds = _benchmark_rounds(loaded, processor, max_new_tokens)
        else:
            suite = question_batches(processor, load_evaluation(evaluation, split), groups=groups)
            rounds = [Round(suite, max_new_tokens or 8)]
        bench = Bench(lvlm, processor, pool, rounds, samples, max_length)
        chosen_tasks([question["task"] for question in bench.questions], columns)
        store = CellStore(results / "cells", model_digest(folder), bench)
    _tell_strangers(store, console)
    origin: dict[str, Any] = {
        "model": model,
        "calibration": calibration if isinstance(calibration, str) else pool.record(),
        "samples": samples,
        "max_length": max_length,
        "min_pixels": min_pixels,
        "max_pixels": max_pixels,
        "groups": groups,
        "max_new_tokens": max_new_tokens,
    }
    origin |= _benchmarks_origin(loaded, data) if loaded else {"evaluation": evaluation, "split": split}
    failed: dict[str, str] = {}
    for ablation in ablations:
        console.print(f"[bold]{ablation.question}[/bold]\n{inspect.getdoc(ablation)}")
        drawn = range(seed, seed + max(seeds, ablation.seeds))
        run = run_ablation(ablation, store, drawn, seeds, runner, part)
        failed |= {f"{ablation.name}: {cell}": error for cell, error in run.failed.items()}
        if run.whole and runner.is_global_zero:
            made = origin | {
                "seeds": list(drawn),
                "whole_seeds": seeds,
                "file": from_here(inspect.getfile(type(ablation))),
            }
            _publish(ablation, Results(run.finished), results, made, columns, loggers, console)
        elif not run.whole:
            console.print(f"{ablation.name}: {_left(run)}; run it again for the tables")
    if failed:
        raise CellsFailed("\n".join(f"{cell}\n{error}" for cell, error in failed.items()))


def _tell_strangers(store: CellStore, console: Console) -> None:
    """Names the cells of another model, data or schema that lie in the folder."""
    for reason, ids in store.strangers().items():
        named = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
        console.print(f"left alone: {len(ids)} cell{'s' if len(ids) > 1 else ''} ({reason}): {named}", soft_wrap=True)


def _publish(
    ablation: Ablation,
    found: Results,
    results: Path,
    origin: dict[str, Any],
    columns: list[str] | None,
    loggers: Sequence[str],
    console: Console,
) -> None:
    """Writes the table and figure of a whole grid, then logs it."""
    target = writable(results / ablation.name, "results")
    table = write_results(ablation, found, target, origin, columns)
    console.print(f"table and figure are in {target}")
    with console.status(f"logging to {', '.join(loggers)}"):
        new = log_ablation(ablation, found, table, target, origin, loggers)
    for name, runs in new.items():
        console.print(f"{name}: {runs} new run{'' if runs == 1 else 's'} in {target / name}")


def _benchmarks_origin(loaded: Sequence[LoadedBenchmark], data: Path | None) -> dict[str, Any]:
    named = {each.benchmark.name: each.provenance() for each in loaded}
    return {"benchmark": ",".join(named), "data": None if data is None else str(data), "benchmarks": named}


def _benchmark_rounds(
    loaded: Sequence[LoadedBenchmark], processor: ProcessorMixin, max_new_tokens: int | None
) -> list[Round]:
    return [Round(each.batches(processor), max_new_tokens or each.benchmark.max_new_tokens) for each in loaded]


def _left(run: Run) -> str:
    return f"{len(run.finished)} cells finished, {len(run.missing)} left to other shards, {len(run.failed)} failed"
