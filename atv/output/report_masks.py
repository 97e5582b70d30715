"""Matches a report's masks with a model: the model that was pruned, or the smaller model saved from it."""

from torch import Tensor

from atv.model.lvlm import LVLM, targets_by_parameter
from atv.model.offload import stored_weight
from atv.model.removal import Removal
from atv.patterns import recorded_pattern
from atv.records.masks import PackedMasks
from atv.records.pruning_report import PruningReport, TargetReport


def removal_of(report: PruningReport, lvlm: LVLM) -> Removal | None:
    """Returns the structures removed from a report's model, if its folder holds a smaller model; otherwise None."""
    if not report.smaller:
        return None
    (plan,) = report.plans.values()
    return recorded_pattern(plan["pattern"]).fitted(lvlm).removal(lvlm, report.masks)


def masks_of(report: PruningReport, lvlm: LVLM) -> PackedMasks:
    """Returns the masks in this model's shapes; it is the model that was pruned, or the smaller model saved from it."""
    return masks_after(report, _removal_done(report, lvlm))


def masks_after(report: PruningReport, removal: Removal | None) -> PackedMasks:
    """Returns the masks in the shapes that a model has without ``removal``; None is the model that was pruned."""
    return report.masks if removal is None else PackedMasks(removal.shrunk_masks(report.masks))


def _removal_done(report: PruningReport, lvlm: LVLM) -> Removal | None:
    """Returns the structures that this model lacks, if it is the smaller model; None for the model that was pruned."""
    removal = removal_of(report, lvlm)
    return removal if removal is not None and removal.is_done(lvlm.model.config) else None


def target_rows(report: PruningReport, lvlm: LVLM) -> dict[str, TargetReport]:
    """Returns a row for each mask, in the order of the model's parameters; offloaded weights are loaded one at a time.

    The model is the one that was pruned, or the smaller model saved from it.

    Raises:
        ValueError: if a mask does not fit the model, or prunes a weight that is not zero.
    """
    removal = _removal_done(report, lvlm)
    masks = masks_after(report, removal)
    # Names of the targets in this model -> names of their masks.
    pruned_as = {name: name for name in report.masks} if removal is None else removal.renamed(report.masks)
    zeros: dict[str, int] = {}
    for parameter, views in targets_by_parameter(lvlm).items():
        if masked_views := {name: view for name, view in views.items() if name in masks}:
            values = stored_weight(lvlm.model, parameter).detach()
            zeros |= {
                pruned_as[name]: _kept_zeros(name, view(values), masks[name]) for name, view in masked_views.items()
            }
    if missing_names := sorted(pruned_as.values() - zeros.keys()):
        raise ValueError(f"report: it has a mask of {missing_names[0]}, but the model has no such Linear or expert")
    # Nothing is left to count in a block that was removed.
    rows = zeros | dict.fromkeys(report.masks.keys() - zeros.keys(), 0)
    return {name: _row(lvlm.block_of(name), report.masks[name], count) for name, count in rows.items()}


def _row(block: int, mask: Tensor, kept_zeros: int) -> TargetReport:
    pruned = mask.numel() - int(mask.count_nonzero())
    return TargetReport(block, list(mask.shape), pruned / mask.numel(), kept_zeros)


def _kept_zeros(name: str, weight: Tensor, mask: Tensor) -> int:
    """Counts the zeros among the weights that a mask keeps."""
    mask = mask.to(weight.device)
    if mask.shape != weight.shape:
        raise ValueError(f"report: the mask of {name} is {list(mask.shape)}, but the weight is {list(weight.shape)}")
    if weight[~mask].any():
        raise ValueError(f"report: its mask of {name} prunes weights that are not zero; is the report this model's?")
    return int(mask.count_nonzero()) - int(weight.count_nonzero())
