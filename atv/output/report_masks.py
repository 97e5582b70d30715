"""A report's masks held against a model: the one that was pruned, or the smaller one that was saved of it."""

from torch import Tensor

from atv.model.lvlm import LVLM, targets_by_parameter
from atv.model.offload import stored
from atv.model.removal import Removal
from atv.patterns import recorded_pattern
from atv.records.masks import PackedMasks
from atv.records.pruning_report import PruningReport, TargetReport


def removal_of(report: PruningReport, lvlm: LVLM) -> Removal | None:
    """What was taken out whole of the model that a report is of, so that its folder holds a smaller one; else None."""
    if not report.smaller:
        return None
    (plan,) = report.plans.values()
    return recorded_pattern(plan["pattern"]).fitted(lvlm).removal(lvlm, report.masks)


def masks_of(report: PruningReport, lvlm: LVLM) -> PackedMasks:
    """The masks in the shapes that this model has: the one that was pruned, or the smaller one that was saved of it."""
    return masks_after(report, _removal_done(report, lvlm))


def masks_after(report: PruningReport, removal: Removal | None) -> PackedMasks:
    """The masks in the shapes that a model has of which ``removal`` was taken out; None is the one that was pruned."""
    return report.masks if removal is None else PackedMasks(removal.shrunk_masks(report.masks))


def _removal_done(report: PruningReport, lvlm: LVLM) -> Removal | None:
    """What this model is without, if it is the smaller one; None for the one that was pruned."""
    removal = removal_of(report, lvlm)
    return removal if removal is not None and removal.is_done(lvlm.model.config) else None


def target_rows(report: PruningReport, lvlm: LVLM) -> dict[str, TargetReport]:
    """A row a mask, in the order of the model's parameters; an offloaded model gives its weights one at a time.

    The model is the one that was pruned, or the smaller one that was saved of it.

    Raises:
        ValueError: for a mask that does not fit the model, or prunes a weight that is not zero.
    """
    removal = _removal_done(report, lvlm)
    masks = masks_after(report, removal)
    # What this model calls the targets that are in it -> the names of their masks.
    pruned_as = {name: name for name in report.masks} if removal is None else removal.renamed(report.masks)
    zeros: dict[str, int] = {}
    for parameter, views in targets_by_parameter(lvlm).items():
        if chosen := {name: view for name, view in views.items() if name in masks}:
            values = stored(lvlm.model, parameter).detach()
            zeros |= {pruned_as[name]: _kept_zeros(name, view(values), masks[name]) for name, view in chosen.items()}
    if absent := sorted(pruned_as.values() - zeros.keys()):
        raise ValueError(f"report: it has a mask of {absent[0]}, and the model no such Linear or expert")
    # Of a block that is gone nothing is left to count.
    rows = zeros | dict.fromkeys(report.masks.keys() - zeros.keys(), 0)
    return {name: _row(lvlm.block_of(name), report.masks[name], count) for name, count in rows.items()}


def _row(block: int, mask: Tensor, kept_zeros: int) -> TargetReport:
    pruned = mask.numel() - int(mask.count_nonzero())
    return TargetReport(block, list(mask.shape), pruned / mask.numel(), kept_zeros)


def _kept_zeros(name: str, weight: Tensor, mask: Tensor) -> int:
    """How many weights are zero among those that a mask keeps."""
    mask = mask.to(weight.device)
    if mask.shape != weight.shape:
        raise ValueError(f"report: the mask of {name} is {list(mask.shape)}, the weight {list(weight.shape)}")
    if weight[~mask].any():
        raise ValueError(f"report: its mask of {name} prunes weights that are not zero; is it of this model?")
    return int(mask.count_nonzero()) - int(weight.count_nonzero())
