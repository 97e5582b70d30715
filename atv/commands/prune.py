"""``atv prune``"""

from pathlib import Path
from typing import Any

from jsonargparse import lazy_instance
from rich.console import Console
from rich.table import Table

import atv
from atv.allocation import Allocation, Uniform
from atv.bundled import BUNDLED
from atv.commands.options import Rules
from atv.data import CalibrationData
from atv.data.calibration_batches import check_draw
from atv.data.sources import load_calibration
from atv.model.offload import Offload
from atv.output.pruned_folder import check_login, push
from atv.records.pruning_report import BOTH, PruningReport
from atv.records.run_folder import run_folder
from atv.refinement import Reconstruction, Refinement
from atv.runtime.trainer import quiet_trainer, require_uncast


def prune(
    output: Path,
    model: str = BUNDLED,
    calibration: str | CalibrationData | None = None,
    samples: int = 128,
    max_length: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    batch_size: int = 8,
    rules: Rules = Rules(),
    allocation: Allocation = lazy_instance(Uniform),
    refine: Refinement | list[Refinement] | None = None,
    reconstruct: Reconstruction | None = None,
    targets: list[str] | str | None = None,
    propagate: bool = True,
    seed: int = 0,
    offload: Offload | None = None,
    plugin: list[Path] | Path | None = None,
    push_to_hub: str | None = None,
    trainer: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Prune an LVLM and write a folder that from_pretrained loads, with masks.safetensors and report.json in it.

    Every finished block is kept in the output folder: the same command goes on where it was killed.

    Args:
        output: Folder to write the pruned model to: new, empty, or with an unfinished run of the same command.
        targets: Names or shell patterns of the Linears to prune, such as q_proj or *.mlp.*, with commas between them or
            as a list. Default: all in the decoder's blocks.
        allocation: Rule that shares the sparsity out over the Linears, named as selection is.
        refine: Rule by which pruned and kept weights change places once the criterion has chosen, named as selection
            is; or several in order, such as [DSnoT,SparseSwaps]. Default: they stay where they are.
        reconstruct: Rule that gives the kept weights new values, so that they make up for those that went, named as
            selection is. Default: they stay as the criterion leaves them.
        offload: Place of the decoder blocks while they are not pruned, for a model larger than the device's memory:
            cpu, or disk (memory-mapped). Waiting hidden states go there too.
        push_to_hub: Repository of the Hugging Face hub (user/name) to upload the finished folder to. Default: nothing
            leaves this machine.
    """
    pathway = atv.Pathway(**vars(rules), allocation=allocation, refine=refine, reconstruct=reconstruct)
    # What can be wrong without a model is told before one is loaded.
    pathway.parts()
    data = load_calibration(calibration, model)
    check_draw(data, samples, seed, batch_size, max_length)
    target, runner = run_folder(output, "output"), quiet_trainer(**(trainer or {}))
    require_uncast(runner)
    if push_to_hub is not None:
        check_login(push_to_hub)
    how: dict[str, Any] = {"min_pixels": min_pixels, "max_pixels": max_pixels, "offload": offload}
    how |= {"device": runner.strategy.root_device, "scratch": target / ".offload"}
    dense, processor = atv.load(model, trust_remote_code=trust_remote_code, **how)
    finished_before = (target / "config.json").is_file()
    report = atv.prune(
        dense,
        atv.calibration_batches(processor, data, samples, seed, batch_size, max_length, rules.selection.needs_answers),
        **vars(pathway),
        targets=targets,
        propagate=propagate,
        seed=seed,
        trainer=runner,
        run_dir=target,
    )
    if not runner.is_global_zero:
        return
    if not finished_before:
        report = atv.save(target, dense, processor, report)
    _show(report, target, finished_before)
    if push_to_hub is not None:
        push(target, push_to_hub)


def _show(report: PruningReport, target: Path, finished_before: bool) -> None:
    console = Console()
    if finished_before:
        console.print(f"this run was finished before; it is in {target}")
        return
    table = Table("block", "mean drift", "visual tokens in the pool", "text tokens in the pool", "seconds")
    for block in report.blocks:
        chosen = block.selected[BOTH]
        share = f"{chosen['visual']} of {block.tokens['visual']}"
        table.add_row(str(block.block), f"{block.mean_drift:.4f}", share, str(chosen["text"]), f"{block.seconds:.2f}")
    console.print(table)
    if report.allocation.dense_seconds:
        console.print(f"measuring the dense model took {report.allocation.dense_seconds:.2f} seconds")
    console.print(
        f"pruned {report.sparsity:.2%} of the target Linears, {report.whole_model_sparsity:.2%} of the whole model; "
        f"written to {target}"
    )
