"""All checks of a pruned model's folder, in order, up to the first failure."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from atv.model.loading import load_processor, model_folder
from atv.model.lvlm import targets_by_parameter
from atv.output.pruned_folder import read_pruned
from atv.output.report_masks import masks_after, removal_of
from atv.patterns import recorded_pattern
from atv.records.masks import PackedMasks
from atv.records.pruning_report import REPORT, PruningReport, TargetReport
from atv.verification.quantized_checks import QuantizedChecks
from atv.verification.saved_model import SavedModel, VerificationError, WhatIsLeft, answer, opened
from atv.verification.weight_checks import (
    BaseCheck,
    check_dense,
    check_names,
    check_pattern,
    check_removal,
    check_tensors,
    label,
)

Watch = Callable[[Sequence[str]], Iterable[str]]
# Takes the place of the report of a folder that was quantized but not pruned: no masks, no targets.
_NEVER_PRUNED = PruningReport(PackedMasks(), [], 0, 0, {"plans": {}}, {})


def verify(
    folder: str | Path,
    base: str | Path | None = None,
    *,
    max_new_tokens: int = 8,
    trust_remote_code: bool = False,
    watch: Watch = iter,
) -> dict[str, str]:
    """Checks a pruned or quantized model's folder, tensor by tensor: zeros, pattern, report, base model, an answer.

    Args:
        folder: the folder to check.
        base: the model that was pruned: a folder, hub id, or "bundled"; None skips the comparison.
        max_new_tokens: tokens to generate; 0 for none.
        trust_remote_code: whether code that comes with the model may run.
        watch: iterates over the tensors' names, and may show progress.

    Returns:
        The findings, by check.

    Raises:
        ValueError: if the folder is neither, or cannot be loaded.
        VerificationError: at the first check that fails; the message names the tensor.
    """
    source, base_folder = Path(folder), None if base is None else model_folder(str(base), trust_remote_code)
    quantized = QuantizedChecks.of(source)
    unpruned = quantized is not None and not (source / REPORT).is_file()
    report = _NEVER_PRUNED if unpruned else read_pruned(source)
    with ExitStack() as stack:
        pruned = stack.enter_context(opened(source, trust_remote_code, quantized is not None))
        dense = stack.enter_context(opened(base_folder, trust_remote_code)) if base_folder else None
        removal = removal_of(report, pruned.lvlm)
        if removal is not None:
            check_removal(removal, pruned.lvlm)
        remaining_masks = masks_after(report, removal)
        findings = {} if quantized is None else {"quantization": quantized.check(pruned.lvlm)}
        findings |= {} if unpruned else _check_masks(report, remaining_masks, pruned)
        if removal is not None:
            dense = dense and WhatIsLeft(dense.lvlm, removal)
            rows = {
                new_name: report.targets[old_name] for new_name, old_name in removal.renamed(report.targets).items()
            }
            report = replace(report, masks=remaining_masks, targets=rows)
        rounded = quantized.changed(pruned.lvlm) if quantized else frozenset()
        findings |= _check_tensors(report, pruned, dense, rounded, watch)
        generation = "skipped"
        if max_new_tokens:
            generation = repr(answer(pruned, load_processor(source, trust_remote_code), max_new_tokens))
        return findings | {"generation": generation, "size": quantized.size if quantized else _size(report, pruned)}


def _check_masks(report: PruningReport, remaining_masks: PackedMasks, pruned: SavedModel) -> dict[str, str]:
    masks = report.masks
    check_names(masks, remaining_masks.shapes, report.targets, pruned.lvlm)
    ((pathway, plan),) = report.plans.items()
    pattern = recorded_pattern(plan["pattern"]).fitted(pruned.lvlm)
    sparsities = report.allocation.sparsities.get(pathway, {})
    if missing := masks.keys() - sparsities.keys():
        raise VerificationError(f"{REPORT} has no sparsity for {min(missing)} in its allocation")
    check_pattern(pattern, masks, sparsities, pruned.lvlm)
    summary = f"{len(masks)} targets, {masks.sparsity:.2%} of their weights pruned"
    return {"masks": summary, "pattern": f"{label(pattern)} holds in every mask"}


def _check_tensors(
    report: PruningReport, pruned: SavedModel, base: SavedModel | None, rounded: Set[str], watch: Watch
) -> dict[str, str]:
    masks, tuning = report.masks, report.finetuning
    updated = bool(report.updates_weights or tuning)
    biases = [f"{name}.bias" for name in report.targets] if report.updates_biases else []
    uncompared = [*(tuning.get("train_also") or ()), *rounded, *biases]
    base_check = None if base is None else BaseCheck(base, masks, updated, uncompared)
    if base_check is not None:
        base_check.check_layout(pruned)
        # A quantized model may also be compared with the pruned one that it was made from.
        if not rounded:
            check_dense(base_check.base, masks, targets_by_parameter(pruned.lvlm))
    rows = None if tuning or rounded else report.targets
    dense, sparse = check_tensors(pruned, masks, rows, base_check, watch(list(pruned.tensors)))
    findings = {"zeros": "where the masks say" + (_kept_zeros(rows) if rows else "")} if masks else {}
    if base_check is None:
        return findings | {"base": "not compared; name the base model with --base"}
    change = "fine-tuned" if tuning else "updated by the criterion"
    if rounded:
        updated_note = f" and kept weights that were {change}" if updated else ""
        exceptions = f"{len(rounded)} tensors that rounding changes{updated_note}"
        return findings | {"base": f"all tensors equal the base model's bit for bit, except for {exceptions}"}
    kept_note = f"were {change}, and are not compared" if updated else "are equal, too"
    return findings | {
        "base": f"{dense} tensors equal the base model's bit for bit; the kept weights of {sparse} {kept_note}"
    }


def _size(report: PruningReport, pruned: SavedModel) -> str:
    dense, compact = sizes(pruned, report.masks)
    if report.smaller:
        return f"{dense / 1e6:.1f} MB, a smaller model ({report.sizes})"
    compacted = f"{compact / 1e6:.1f} MB with bit-packed masks and compacted values ({compact / dense:.1%})"
    return f"{dense / 1e6:.1f} MB dense with zeros; {compacted}"


def sizes(model: SavedModel, masks: PackedMasks) -> tuple[int, int]:
    """Returns the bytes of a model's tensors as they are, and with bit-packed masks and only the kept values.

    They are computed without reading a weight, and do not include file headers.
    """
    dense = sum(value.nbytes for value in model.tensors.values())
    views = targets_by_parameter(model.lvlm)
    itemsize = {name: model.tensors[site].itemsize for site, targets in views.items() for name in targets}
    saved = sum((mask.numel() - int(mask.count_nonzero())) * itemsize[name] for name, mask in masks.items())
    return dense, dense - saved + sum(packed.nbytes for packed in masks.packed.values())


def _kept_zeros(rows: Mapping[str, TargetReport]) -> str:
    count = sum(row.kept_zeros for row in rows.values())
    return f"; {count} more among the kept weights, as when the model was written"
