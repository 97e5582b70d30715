"""A complete quantization run from one model folder to another: masks, samples, blocks, packed model."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor, nn
from transformers import PreTrainedModel, ProcessorMixin

from atv.calibration.calibration_set import numbered_batches
from atv.data.base import CalibrationData
from atv.data.calibration_batches import CalibrationBatches, calibration_batches, check_draw
from atv.data.sources import load_calibration
from atv.model.block_shards import clear_shards, finish_folder
from atv.model.loading import load_model, load_offloaded_model, model_folder
from atv.model.lvlm import LVLM
from atv.model.offload import Offload, distinct_tensors, is_offloaded, model_digests
from atv.output.pruned_folder import read_pruned
from atv.output.report_masks import masks_of
from atv.plugins import code_identity, describe, resolve
from atv.quantization.base import Quantizer
from atv.quantization.blockwise import QuantizationPlan, QuantizedBlocks, quantize_blocks, rounded_weights
from atv.quantization.method_contract import check_method
from atv.quantization.packed_folder import (
    packed,
    packed_bytes,
    quantization_config,
    require_library,
    write_quantized,
)
from atv.quantization.whole_numbers import GroupSize, chosen_group_size, grids, require_bits
from atv.records.digests import tensors_digest
from atv.records.masks import PackedMasks
from atv.records.provenance import provenance
from atv.records.pruning_report import REPORT
from atv.records.quantization_record import QuantizationRecord
from atv.records.run_folder import OFFLOADED, RunFolder, clear_blocks, run_folder
from atv.runtime.trainer import precision, quiet_trainer, require_calibrating
from atv.selection import PartedSelection, TokenSelection


def quantize(
    folder: str | Path,
    output: str | Path,
    calibration: str | CalibrationData | None = None,
    *,
    samples: int = 128,
    max_length: int | None = None,
    batch_size: int = 8,
    selection: TokenSelection | str = "DriftTopK",
    method: Quantizer | str = "GPTQ",
    bits: int = 4,
    group_size: GroupSize = None,
    targets: Sequence[str] | str | None = None,
    seed: int = 0,
    offload: Offload | None = None,
    trainer: L.Trainer | None = None,
    trust_remote_code: bool = False,
) -> QuantizationRecord:
    """Rounds the Linears of a model's decoder to few bits, block by block, and writes a folder that transformers loads.

    Weights that a pruned model's masks prune stay exactly zero. If a run was killed, the same call resumes after the
    last finished block.

    Args:
        folder: folder of a pruned model or of any other model, whose weights then all count as kept.
        output: folder to write: new, empty, or with an unfinished run of the same call.
        calibration: calibration data, as for ``atv.calibration_batches``. Default: the data that suit the model.
        samples, max_length, batch_size: number of calibration samples (drawn by the seed), longest sample in tokens,
            and number of samples in one forward pass.
        selection: rule that picks the tokens of the calibration pool, as for ``atv.prune``.
        method: rule by which weights are rounded: an instance, a class name or a dotted path.
        bits: bits per weight: 3, 4 or 8.
        group_size: number of consecutive inputs of a row that share a scale, or "row". Default: 128, or whole rows if
            128 does not divide every Linear's inputs.
        targets: shell-style patterns of names, as a list or separated by commas. Default: all Linears of the decoder's
            blocks except routers.
        seed: seed of the calibration samples and of all random draws in rules.
        offload: where the decoder's blocks are kept while they are not rounded, "cpu" or "disk"; not with AWQ.
        trainer: runs the prediction loop in the model's dtype or mixed precision. Default: one with a progress bar.
        trust_remote_code: whether code that comes with the model may run.

    Returns:
        The contents of quantization.json.

    Raises:
        ValueError: before calibration, for options that do not fit, experts among the targets, a method that scales
            channels of offloaded blocks or violates its contract, a rule with several parts, or an output folder with
            different contents.
    """
    require_library()
    require_calibrating(trainer)
    require_bits(bits)
    rule, quantizer = resolve(selection, TokenSelection, "selection"), resolve(method, Quantizer, "method")
    _require_one_pool(rule)
    source, runner = model_folder(str(folder), trust_remote_code), trainer or quiet_trainer()
    data = load_calibration(calibration, str(source))
    check_draw(data, samples, seed, batch_size, max_length)
    output_folder = run_folder(output, "output")
    model, processor = _load(source, offload, runner, output_folder, trust_remote_code)
    lvlm = LVLM.of(model)
    linears = linears_of(lvlm, targets)
    size = chosen_group_size(linears, group_size)
    check_method(quantizer, bits, size, next(iter(linears.values())).weight.dtype)
    plan = QuantizationPlan(linears, _read_masks(source, lvlm), grids(linears, bits, size), quantizer, rule, seed)
    settings = _settings(plan, bits, size, runner)
    batches = calibration_batches(processor, data, samples, seed, batch_size, max_length, rule.needs_answers)
    numbered = numbered_batches(lvlm, batches)
    run = RunFolder(output_folder, _identity(lvlm, plan, settings, batches))
    if run.saved:
        return QuantizationRecord.read(output_folder)
    if runner.is_global_zero:
        run.begin()
    byte_counts = _byte_counts(lvlm, plan)
    outcome = quantize_blocks(lvlm, plan, numbered, runner, run)
    record_fields = (str(folder), settings, batches.record, outcome.errors, byte_counts)
    record = QuantizationRecord(*record_fields, scaled=outcome.scaled, provenance=provenance())
    if runner.is_global_zero:
        _write(run, lvlm, processor, plan, outcome, quantization_config(plan.grids, size == "row"), record, source)
        clear_blocks(output_folder)
    return record


def _require_one_pool(rule: TokenSelection) -> None:
    if isinstance(rule, PartedSelection):
        raise ValueError(
            f"selection: {type(rule).__name__} weights pools block by block, which quantization does not support; "
            "choose a different rule, such as WeightedPools"
        )


def _settings(plan: QuantizationPlan, bits: int, group_size: int | str, runner: L.Trainer) -> dict[str, Any]:
    """Returns class names, arguments and precision, for the record and the run's identity."""
    rules = {"method": describe(plan.method), "selection": describe(plan.selection)}
    options = {"bits": bits, "group_size": group_size, "targets": list(plan.targets), "seed": plan.seed}
    return rules | options | precision(runner)


def _read_masks(source: Path, lvlm: LVLM) -> PackedMasks:
    """Returns the masks of a pruned model's folder; no masks for any other model."""
    return masks_of(read_pruned(source), lvlm) if (source / REPORT).is_file() else PackedMasks()


def _load(
    source: Path, offload: Offload | None, runner: L.Trainer, output_folder: Path, trust_remote_code: bool
) -> tuple[PreTrainedModel, ProcessorMixin]:
    if offload is None:
        return load_model(source, trust_remote_code)
    return load_offloaded_model(
        source, offload, runner.strategy.root_device, output_folder / OFFLOADED, trust_remote_code
    )


def _write(
    run: RunFolder,
    lvlm: LVLM,
    processor: ProcessorMixin,
    plan: QuantizationPlan,
    outcome: QuantizedBlocks,
    config: dict[str, Any],
    record: QuantizationRecord,
    source: Path,
) -> None:
    """Writes the output folder; offloaded blocks are packed one at a time."""
    model = lvlm.model
    if not is_offloaded(model):
        state = packed(model.cpu().state_dict(), outcome.weights, plan.grids)
        write_quantized(run.folder, model, processor, config, record, source, state)
        clear_shards(run.folder)
        return

    def packed_block(block: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return packed(tensors, rounded_weights(run.read_block(block)), plan.grids)

    write_quantized(run.folder, model, processor, config, record, source, None)
    model_config = copy.deepcopy(model.config)
    model_config.quantization_config = config
    finish_folder(lvlm, run.folder, model_config, packed_block)


def linears_of(lvlm: LVLM, patterns: Sequence[str] | str | None) -> dict[str, nn.Linear]:
    """Returns the Linears to quantize.

    Raises:
        ValueError: if experts are among the targets, since the format does not support fused ones.
    """
    chosen_targets = lvlm.targets(patterns)
    linears = {name: target for name, target in chosen_targets.items() if isinstance(target, nn.Linear)}
    if experts := sorted(chosen_targets.keys() - linears.keys()):
        raise ValueError(
            f"targets: {experts[0]} is an expert of a fused layer, which the format does not support; choose targets "
            "without experts, such as '*_attn.*'"
        )
    return linears


def _identity(
    lvlm: LVLM, plan: QuantizationPlan, settings: Mapping[str, Any], batches: CalibrationBatches
) -> dict[str, Any]:
    """Returns what identifies this run: its settings, and the digests of model and data."""
    digests = model_digests(lvlm.model) | {"masks": tensors_digest([PackedMasks(plan.masks).packed])}
    digests |= {"calibration data": tensors_digest(batches)}
    return {"command": "quantize", **settings, **digests, **code_identity([plan.method, plan.selection])}


def _byte_counts(lvlm: LVLM, plan: QuantizationPlan) -> dict[str, int]:
    """Returns the bytes of all tensors, counting shared ones once, before and after packing the targets' weights."""
    bytes_before = sum(tensor.nbytes for tensor in distinct_tensors(lvlm.model).values())
    weights = {name: target.weight for name, target in plan.targets.items()}
    return {
        "before": bytes_before,
        "after": bytes_before - sum(weight.nbytes for weight in weights.values()) + packed_bytes(weights, plan.grids),
    }
