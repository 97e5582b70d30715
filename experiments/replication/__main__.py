"""``make replicate-cosmos-edge``: a public replication's table on its model, on all available GPUs."""

from pathlib import Path

from experiments.replication.grid import BENCHMARKS, replicas
from experiments.replication.table import write_table
from experiments.runs import PaperQuestions
from experiments.table_run import run_program, run_table


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

    No input is needed. Finished runs are skipped, and killed runs resume. Returns whether every run is finished.

    Args:
        model: A name from experiments/models, or a YAML file with options of atv prune, including "model".
        output: Folder for all runs. Default: results/replication/MODEL.
        methods: Comma-separated from atv, atv_text, tamp, tamp_text, wanda, sparsegpt, or all.
        calibrations: Benchmarks that calibrate: comma-separated from mmbench, mmmu, ok_vqa, or all.
        data: Folder with a local copy of the three benchmarks' data sets (docs/evaluation.md). Default: the hub.
        limit: Ask only the first LIMIT groups of each benchmark. A group is a question with its rotations or its pair.
        batch_size: Number of questions to answer at once.
        keep_models: Keep each pruned model's weights. By default, only its report and masks are kept.
        dry_run: Print what would run and what it would cost, without running anything.
    """
    chosen_replicas = replicas(model, methods, calibrations, data)
    asking = PaperQuestions(BENCHMARKS, data, limit, batch_size)
    folder = output or Path("results") / "replication" / chosen_replicas[0].model_file.stem
    return run_table(chosen_replicas, asking, folder, keep_models, dry_run, write_table)


if __name__ == "__main__":
    run_program("replication", replicate)
