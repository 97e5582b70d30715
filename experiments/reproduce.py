"""``make reproduce-paper MODEL=...``: the paper's grid on a real model, on all available GPUs."""

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
    """Evaluate the dense model, prune, verify and evaluate every variant, and print retention beside the paper's.

    No input is needed. Finished runs are skipped, and killed runs resume. Returns whether every run is finished.

    Args:
        model: A name from experiments/models, or a YAML file with options of atv prune, including "model".
        output: Folder for all runs. Default: results/reproduce/MODEL.
        methods: Comma-separated from sparsegpt, wanda, amia, atv, or all. Default: all for the paper's models and
            your own, atv for the others.
        settings: Comma-separated from 50, 60, 2_4, 4_8, or all. Default: all for the paper's models and your own,
            50 for the others.
        benchmarks: Which of the nine to run, comma-separated or as a list.
        data: Folder with a local copy of the benchmarks' data sets (docs/evaluation.md). Default: the hub.
        limit: Ask only the first LIMIT groups of each benchmark. A group is a question with its rotations or its pair.
        batch_size: Number of questions to answer at once.
        keep_models: Keep each pruned model's weights. By default, only its report and masks are kept.
        dry_run: Print what would run and what it would cost, without running anything.
    """
    chosen_variants = variants(model, methods, settings)
    benchmark_names = [benchmark.name for benchmark in chosen_benchmarks(benchmarks)]
    if unknown := [name for name in benchmark_names if name not in QUESTIONS]:
        raise ValueError(f"benchmarks: {', '.join(unknown)} is not one of the nine: {', '.join(QUESTIONS)}")
    asking = PaperQuestions(benchmark_names, data, limit, batch_size)
    folder = output or Path("results") / "reproduce" / chosen_variants[0].model_file.stem
    return run_table(chosen_variants, asking, folder, keep_models, dry_run, write_table)


if __name__ == "__main__":
    run_program("reproduce", reproduce)
