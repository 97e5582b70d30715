"""``make replicate-cosmos-edge``: a public replication's table on its model, on as many GPUs as there are."""

import signal
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from atv.records.files import writable
from experiments.devices import devices
from experiments.estimate import size_of
from experiments.plan import show_plan
from experiments.replication.grid import BENCHMARKS, replicas
from experiments.replication.table import write_table
from experiments.reproduce import run_all, run_command
from experiments.runs import DENSE, PaperQuestions, PaperRun


def replicate(
    model: str = "cosmos3_edge",
    output: Path | None = None,
    methods: str = "all",
    calibrations: str = "all",
    data: Path | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    keep_models: bool = False,
    dry_run: bool = False,
) -> bool:
    """Evaluate the dense model on MMBench, MMMU and OK-VQA, then prune, verify and evaluate every run of the table.

    Nothing is asked. Finished runs are skipped, killed ones go on. Returns whether every run is finished.

    Args:
        model: A name of experiments/models, or a YAML file with options of atv prune, "model" among them.
        output: Folder of all runs. Default: results/replication/MODEL.
        methods: atv, atv_text, tamp, tamp_text, wanda, sparsegpt, with commas between them, or all.
        calibrations: mmbench, mmmu, ok_vqa, with commas between them, or all.
        data: Folder with a local copy of the three benchmarks' data sets (docs/evaluation.md). Default: the hub.
        limit: Only the first so many questions of each benchmark are asked.
        batch_size: Questions generated at once.
        keep_models: See above.
        dry_run: See above.
    """
    chosen = replicas(model, methods, calibrations, data)
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1, got {limit}")
    options = chosen[0].options()
    folder = output or Path("results") / "replication" / chosen[0].model_file.stem
    pixels = {name: options[name] for name in ("min_pixels", "max_pixels") if options.get(name) is not None}
    asking = PaperQuestions(BENCHMARKS, data, limit, batch_size)
    common: dict[str, Any] = {"base": options["model"], "pixels": pixels, "asking": asking, "keep_model": keep_models}
    runs = [PaperRun(folder / DENSE, **common)]
    runs += [PaperRun(folder / variant.name, **common, variant=variant) for variant in chosen]
    console, available = Console(), devices()
    show_plan(console, runs, size_of(options["model"]), options["samples"], available)
    if dry_run:
        return True
    writable(folder, "output")
    for run in runs:
        run.begin()
    whole = run_all(console, runs, available)
    if runs[0].evaluated():
        console.print(write_table(folder, runs[0], runs[1:]), soft_wrap=True)
        console.print(f"this table is in {folder / 'table.md'}")
    return whole


def main(arguments: list[str] | None = None) -> int:
    """The command ``replication``."""
    return run_command("replication", replicate, arguments)


if __name__ == "__main__":
    # An exception, so that the commands under way are stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    raise SystemExit(main())
