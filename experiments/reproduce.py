"""``make reproduce-paper MODEL=...``: the paper's grid on a real model, on as many GPUs as there are."""

from pathlib import Path

from atv.evaluation.benchmarks.loaded import chosen_benchmarks
from experiments.estimate import QUESTIONS
from experiments.grid import variants
from experiments.paper_tables import write_table
from experiments.runs import PaperQuestions
from experiments.table_run import run_program, run_table


def reproduce(
    model: str,
    output: Path | None = None,
    methods: str | None = None,
    settings: str | None = None,
    benchmarks: list[str] | str = "all",
    data: Path | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    keep_models: bool = False,
    dry_run: bool = False,
) -> bool:
    """Evaluate the dense model, then prune, verify and evaluate every variant; ends with retention beside the paper's.

    Nothing is asked. Finished runs are skipped, killed ones go on. Returns whether every run is finished.

    Args:
        model: A name of experiments/models, or a YAML file with options of atv prune, "model" among them.
        output: Folder of all runs. Default: results/reproduce/MODEL.
        methods: sparsegpt, wanda, amia, atv, with commas between them, or all. Default: all for the paper's models and
            your own, atv for the others.
        settings: 50, 60, 2_4, 4_8, with commas between them, or all. Default: all for the paper's models and your own,
            50 for the others.
        benchmarks: Of the nine, with commas between them, or a list.
        data: Folder with a local copy of the benchmarks' data sets (docs/evaluation.md). Default: the hub.
        limit: Only the first so many groups of each benchmark: a question with its rotations or its pair.
        batch_size: Questions generated at once.
        keep_models: Keep each pruned model's weights, of which else the report and the masks alone are left.
        dry_run: Say what would be run and what it would cost, and run nothing.
    """
    chosen = variants(model, methods, settings)
    asked = [benchmark.name for benchmark in chosen_benchmarks(benchmarks)]
    if unknown := [name for name in asked if name not in QUESTIONS]:
        raise ValueError(f"benchmarks: {', '.join(unknown)} is none of the nine: {', '.join(QUESTIONS)}")
    asking = PaperQuestions(asked, data, limit, batch_size)
    folder = output or Path("results") / "reproduce" / chosen[0].model_file.stem
    return run_table(chosen, asking, folder, keep_models, dry_run, write_table)


if __name__ == "__main__":
    run_program("reproduce", reproduce)
