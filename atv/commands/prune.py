"""``atv prune``"""

from pathlib import Path
from typing import Any

from jsonargparse import lazy_instance
from rich.console import Console
from rich.table import Table

import atv
from atv.allocation import Allocation, Uniform
from atv.api.pruning_to_folder import PrunedFolder, prune_to_folder
from atv.bundled import BUNDLED
from atv.commands.options import Rules
from atv.data import CalibrationData
from atv.model.offload import Offload
from atv.output.hub_upload import check_login, push
from atv.records.pruning_report import BOTH
from atv.refinement import Reconstruction, Refinement
from atv.runtime.trainer import quiet_trainer


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

    Every finished block is stored in the output folder, so that the same command resumes a killed run.

    Args:
        output: Folder to write the pruned model to: new, empty, or with an unfinished run of the same command.
        targets: Names or shell patterns of the Linears to prune, such as q_proj or *.mlp.*, as a list or separated by
            commas. Default: all in the decoder's blocks.
        allocation: Rule that distributes the sparsity over the Linears, specified as for selection.
        refine: Rule that swaps pruned and kept weights once the criterion has chosen them, specified as for selection;
            or a list of rules to apply in order, such as [DSnoT,SparseSwaps]. Default: nothing is swapped.
        reconstruct: Rule that gives the kept weights new values, to compensate for the pruned ones, specified as for
            selection. Default: the kept weights stay as the criterion leaves them.
        offload: Where to keep the decoder blocks that are not being pruned, for a model larger than the device's
            memory: cpu, or disk (memory-mapped). Waiting hidden states are kept there too.
        push_to_hub: Repository of the Hugging Face hub (user/name) to upload the finished folder to. Default: nothing
            leaves this machine.
    """
    pathway = atv.Pathway(**vars(rules), allocation=allocation, refine=refine, reconstruct=reconstruct)
    runner = quiet_trainer(**(trainer or {}))
    if push_to_hub is not None:
        check_login(push_to_hub)
    pruned = prune_to_folder(
        model,
        output,
        pathway,
        calibration,
        samples=samples,
        max_length=max_length,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        batch_size=batch_size,
        targets=targets,
        propagate=propagate,
        seed=seed,
        offload=offload,
        trainer=runner,
        trust_remote_code=trust_remote_code,
    )
    if not runner.is_global_zero:
        return
    _print_outcome(pruned)
    if push_to_hub is not None:
        push(pruned.folder, push_to_hub)


def _print_outcome(pruned: PrunedFolder) -> None:
    console, report = Console(), pruned.report
    if pruned.finished_before:
        console.print(f"this run is already finished; its output is in {pruned.folder}")
        return
    table = Table("block", "mean drift", "visual tokens in the pool", "text tokens in the pool", "seconds")
    for block in report.blocks:
        selected = block.selected[BOTH]
        visual_tokens = f"{selected['visual']} of {block.tokens['visual']}"
        table.add_row(
            str(block.block), f"{block.mean_drift:.4f}", visual_tokens, str(selected["text"]), f"{block.seconds:.2f}"
        )
    console.print(table)
    if report.allocation.dense_seconds:
        console.print(f"measuring the dense model took {report.allocation.dense_seconds:.2f} seconds")
    console.print(
        f"pruned {report.sparsity:.2%} of the target Linears, {report.whole_model_sparsity:.2%} of the whole model; "
        f"written to {pruned.folder}"
    )
