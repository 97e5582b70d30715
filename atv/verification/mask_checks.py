"""Whether masks are what a report says: of the right targets and shapes, and chosen by the pattern."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from atv.model.lvlm import LVLM
from atv.model.removal import Removal
from atv.patterns import Pattern
from atv.plugins import arguments
from atv.records.masks import PackedMasks
from atv.records.pruning_report import TargetReport
from atv.verification.saved_model import VerificationError


def check_names(
    masks: PackedMasks, left: Mapping[str, Sequence[int]], rows: Mapping[str, TargetReport], lvlm: LVLM
) -> None:
    """Masks, rows of the report and targets of the model are of one another, with equal shapes.

    ``left`` are the masks' shapes in this model, which is smaller where structures were taken out whole.

    Raises:
        VerificationError: naming the first that is not.
    """
    for name in sorted(masks.keys() ^ rows.keys()):
        raise VerificationError(f"{name} is {'a mask' if name in masks else 'in the report'} alone")
    for name, shape in left.items():
        target = lvlm.prunable.get(name)
        if target is None:
            raise VerificationError(f"{name} has a mask, and the model no such Linear or expert")
        if list(target.weight.shape) != shape:
            raise VerificationError(f"{name}: the mask is {shape}, the weight {list(target.weight.shape)}")


def check_removal(removal: Removal, lvlm: LVLM) -> None:
    """What masks leave of the structures that they took out is what the smaller model has.

    Raises:
        VerificationError: naming the field of its config that says otherwise.
    """
    for name, (has, left) in removal.changes(lvlm.model.config).items():
        if has != left:
            raise VerificationError(f"the masks leave {name} {left}, and the model has {has}")


def check_pattern(pattern: Pattern, masks: PackedMasks, sparsities: Mapping[str, float], lvlm: LVLM) -> None:
    """Every mask is one that the pattern chooses.

    Given 1 for what was kept and 0 for what was not as scores, the pattern must choose the mask itself: with a weight
    more or less in some group, row, Linear or block, it would choose another.

    Raises:
        VerificationError: naming the first target, row and input that differ.
    """
    for names in _together(pattern, masks, lvlm):
        scores = {name: masks[name].float() for name in names}
        for name, chosen in pattern.masks(scores, sparsities).items():
            if (differing := (chosen != masks[name]).nonzero()).numel():
                row, column = differing[0].tolist()
                raise VerificationError(f"{name}: the mask breaks {label(pattern)} in row {row} at input {column}")


def label(pattern: Pattern) -> str:
    """Class and arguments in words."""
    given = ", ".join(f"{name}={value}" for name, value in arguments(pattern).items())
    return f"{type(pattern).__name__}({given})" if given else type(pattern).__name__


def _together(pattern: Pattern, masks: Mapping[str, Tensor], lvlm: LVLM) -> Iterator[list[str]]:
    """The targets that compete: those of a block where the pattern is joint, else each by itself."""
    by_block: dict[int, list[str]] = defaultdict(list)
    for name in masks:
        by_block[lvlm.block_of(name)].append(name)
    for names in by_block.values():
        yield from [names] if pattern.joint else ([name] for name in names)
