"""``atv quantize``"""

from pathlib import Path
from typing import Any, Literal

from jsonargparse import lazy_instance
from rich.console import Console
from rich.table import Table

import atv
from atv.data import CalibrationData
from atv.model.offload import Offload
from atv.quantization import GPTQ, Quantizer
from atv.records.quantization_record import QuantizationRecord
from atv.runtime.trainer import quiet_trainer
from atv.selection import DriftTopK, TokenSelection


def quantize(
    folder: Path,
    output: Path,
    calibration: str | CalibrationData | None = None,
    samples: int = 128,
    max_length: int | None = None,
    batch_size: int = 8,
    selection: TokenSelection = lazy_instance(DriftTopK),
    method: Quantizer = lazy_instance(GPTQ),
    bits: int = 4,
    group_size: int | Literal["row"] | None = None,
    targets: list[str] | str | None = None,
    seed: int = 0,
    offload: Offload | None = None,
    plugin: list[Path] | Path | None = None,
    trainer: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Round a pruned model's weights to a few bits each; weights that pruning set to zero stay exactly zero.

    The decoder's Linears become integers with scales (compressed-tensors, pack-quantized), in a folder that
    from_pretrained loads. The same command resumes a killed run after the last finished block.

    Args:
        folder: Folder of a pruned model, as atv prune writes it, or of any other model.
        output: Folder to write the quantized model to: new, empty, or with an unfinished run of the same command.
        targets: Names or shell patterns of the Linears to round, such as q_proj or *.mlp.*, as a list or separated by
            commas. Default: all in the decoder's blocks.
        offload: Where to keep the decoder blocks that are not being rounded, for a model larger than the device's
            memory: cpu, or disk (memory-mapped). Waiting hidden states are kept there too. Not available with AWQ.
    """
    runner = quiet_trainer(**(trainer or {}))
    record = atv.quantize(
        folder,
        output,
        calibration,
        samples=samples,
        max_length=max_length,
        batch_size=batch_size,
        selection=selection,
        method=method,
        bits=bits,
        group_size=group_size,
        targets=targets,
        seed=seed,
        offload=offload,
        trainer=runner,
        trust_remote_code=trust_remote_code,
    )
    if runner.is_global_zero:
        _print_record(record, output)


def _print_record(record: QuantizationRecord, output: Path) -> None:
    console, table = Console(), Table("kind of Linear", "error of its outputs, % of their squares")
    for kind, error in record.by_kind().items():
        table.add_row(kind, f"{100 * error:.3f}")
    console.print(table)
    before, after = (record.bytes[when] / 1e6 for when in ("before", "after"))
    console.print(f"{before:.1f} MB became {after:.1f} MB; written to {output}", soft_wrap=True, highlight=False)
