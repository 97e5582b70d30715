"""``make replicate-cosmos-edge``: a public replication's table on its model, on as many GPUs as there are."""

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

    Nothing is asked. Finished runs are skipped, killed ones go on. Returns whether every run is finished.

    Args:
        model: A name of experiments/models, or a YAML file with options of atv prune, "model" among them.
        output: Folder of all runs. Default: results/replication/MODEL.
        methods: atv, atv_text, tamp, tamp_text, wanda, sparsegpt, with commas between them, or all.
        calibrations: mmbench, mmmu, ok_vqa, with commas between them, or all.
        data: Folder with a local copy of the three benchmarks' data sets (docs/evaluation.md). Default: the hub.
        limit: Only the first so many groups of each benchmark are asked: a question with its rotations or its pair.
        batch_size: Questions generated at once.
        keep_models: Keep each pruned model's weights, of which else the report and the masks alone are left.
        dry_run: Say what would be run and what it would cost, and run nothing.
    """
    chosen = replicas(model, methods, calibrations, data)
    asking = PaperQuestions(BENCHMARKS, data, limit, batch_size)
    folder = output or Path("results") / "replication" / chosen[0].model_file.stem
    return run_table(chosen, asking, folder, keep_models, dry_run, write_table)


if __name__ == "__main__":
    run_program("replication", replicate)
