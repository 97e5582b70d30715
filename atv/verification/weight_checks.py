"""Whether a pruned model's tensors are what its masks and its base model say, one tensor at a time."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import Tensor

from atv.model.lvlm import LVLM, View, targets_by_parameter
from atv.model.removal import Removal
from atv.patterns import Pattern
from atv.plugins import arguments
from atv.records.masks import PackedMasks
from atv.records.pruning_report import TargetReport
from atv.verification.saved_model import SavedModel, VerificationError


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


def check_zeros(name: str, weight: Tensor, mask: Tensor, kept_zeros: int | None) -> None:
    """A target's weights (out, in) are zero where its mask says, and so many among those kept; None counts none there.

    Raises:
        VerificationError: naming the first weight that is not zero, or both counts.
    """
    if (wrong := ((weight != 0) & ~mask).nonzero()).numel():
        raise VerificationError(f"{name}: {_at(wrong)} is {float(weight[tuple(wrong[0])])}, and the mask prunes it")
    zeros = int(((weight == 0) & mask).count_nonzero())
    if kept_zeros is not None and zeros != kept_zeros:
        raise VerificationError(f"{name}: {zeros} kept weights are zero, {kept_zeros} were when it was written")


@dataclass(frozen=True)
class BaseCheck:
    """Tensors against the base model's, bit for bit.

    ``updated`` says that the kept weights of targets may have changed: they are then not compared. Neither are the
    parameters that a pattern of ``trained`` matches.
    """

    base: SavedModel
    masks: PackedMasks
    updated: bool = False
    trained: Sequence[str] = ()

    def check_layout(self, pruned: SavedModel) -> None:
        """Raises VerificationError unless class, names, shapes and dtypes are equal."""
        ours, theirs = type(pruned.lvlm.model).__name__, type(self.base.lvlm.model).__name__
        if ours != theirs:
            raise VerificationError(f"base: the pruned model is a {ours}, the base model a {theirs}")
        for name in [*pruned.tensors, *self.base.tensors]:
            tensor, other = (model.tensors.get(name) for model in (pruned, self.base))
            if tensor is None or other is None:
                raise VerificationError(f"base: the {'base' if tensor is None else 'pruned'} model alone has {name}")
            if tensor.shape != other.shape or tensor.dtype != other.dtype:
                raise VerificationError(
                    f"base: {name} is {_kind(other)} in the base model, {_kind(tensor)} when pruned"
                )

    def check(self, name: str, ours: Tensor, views: Mapping[str, View]) -> None:
        """Raises VerificationError unless a parameter is the same bits, under the masks of its targets, if it has any.

        ``views`` make the weights of its targets.
        """
        if any(fnmatch(name, pattern) for pattern in self.trained):
            return
        theirs = self.base.tensor(name)
        if not views.keys() & self.masks.keys():
            check_same_bits(name, ours, theirs, "the base model's")
            return
        for target, view in views.items():
            if target not in self.masks:
                check_same_bits(target, view(ours), view(theirs), "the base model's")
            elif not self.updated:
                dense = view(theirs).masked_fill(~self.masks[target], 0)
                check_same_bits(target, view(ours), dense, "the base model's where it was kept")


def check_dense(base: SavedModel, masks: PackedMasks, views: Mapping[str, Mapping[str, View]]) -> None:
    """The base model is not itself zero where the masks prune.

    Of a dense model the first weight that is read says so. ``views`` give by parameter the weights of targets in it.

    Raises:
        VerificationError: for a model of whose pruned weights fewer than 1 in 100 are not zero, in every target.
    """
    zero = False
    for name, targets in views.items():
        for target in targets.keys() & masks.keys():
            weights = targets[target](base.tensor(name))[~masks[target]]
            if 100 * int(weights.count_nonzero()) >= max(1, weights.numel()):
                return
            zero = zero or bool(weights.numel())
    if zero:
        called = base.lvlm.model.name_or_path
        raise VerificationError(
            f"base: expected the dense model that was pruned, got {called!r}, itself zero where the masks prune"
        )


def check_same_bits(name: str, ours: Tensor, theirs: Tensor, others: str = "what was packed of it") -> None:
    """Raises VerificationError unless both are the same bits; the message calls the second ``others``."""
    if not torch.equal(_bits(ours), _bits(theirs)):
        differing = (_bits(ours) != _bits(theirs)).view(*ours.shape, -1).any(-1).nonzero()
        raise VerificationError(f"{name} differs from {others}: first at {_at(differing)}")


def check_tensors(
    pruned: SavedModel,
    masks: PackedMasks,
    rows: Mapping[str, TargetReport] | None,
    base: BaseCheck | None,
    names: Iterable[str],
) -> tuple[int, int]:
    """Reads every tensor once, in ``names``' order; without ``rows``, as after training, kept zeros are not counted.

    Returns:
        How many tensors without and with pruned weights were checked.

    Raises:
        VerificationError: at the first tensor that is not as it should be.
    """
    views, counts = targets_by_parameter(pruned.lvlm), [0, 0]
    for name in names:
        targets = views.get(name, {})
        masked = [target for target in targets if target in masks]
        counts[bool(masked)] += 1
        if not masked and base is None:
            continue
        ours = pruned.tensor(name)
        for target in masked:
            check_zeros(target, targets[target](ours), masks[target], rows[target].kept_zeros if rows else None)
        if base is not None:
            base.check(name, ours, targets)
    return counts[0], counts[1]


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _at(places: Tensor) -> str:
    return f"entry {tuple(places[0].tolist())}" if places.shape[1] else "its only value"
