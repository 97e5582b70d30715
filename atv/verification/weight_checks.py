"""Checks of a pruned model's tensors against its masks and its base model, one tensor at a time."""

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
    masks: PackedMasks, shapes: Mapping[str, Sequence[int]], rows: Mapping[str, TargetReport], lvlm: LVLM
) -> None:
    """Checks that masks, rows of the report and targets of the model belong together, with equal shapes.

    ``shapes`` has the masks' shapes in this model, which is smaller if whole structures were removed.

    Raises:
        VerificationError: at the first mismatch; the message names the target.
    """
    for name in sorted(masks.keys() ^ rows.keys()):
        raise VerificationError(f"{name} is only in the {'masks' if name in masks else 'report'}")
    for name, shape in shapes.items():
        target = lvlm.prunable.get(name)
        if target is None:
            raise VerificationError(f"{name} has a mask, but the model has no such Linear or expert")
        if list(target.weight.shape) != shape:
            raise VerificationError(f"{name}: the mask has shape {shape}, the weight {list(target.weight.shape)}")


def check_removal(removal: Removal, lvlm: LVLM) -> None:
    """Checks that a model has the sizes that remain after the structures in the masks are removed.

    Raises:
        VerificationError: if a size differs; the message names the field of the model's config.
    """
    for name, (actual, expected) in removal.changes(lvlm.model.config).items():
        if actual != expected:
            raise VerificationError(f"the masks leave {name} {expected}, but the model has {actual}")


def check_pattern(pattern: Pattern, masks: PackedMasks, sparsities: Mapping[str, float], lvlm: LVLM) -> None:
    """Checks that every mask fits the pattern.

    With scores of 1 for kept and 0 for pruned weights, the pattern must choose the mask itself. If a group, row, Linear
    or block had a weight too many or too few, the pattern would choose a different mask.

    Raises:
        VerificationError: at the first difference; the message names its target, row and input.
    """
    for names in _competing_targets(pattern, masks, lvlm):
        scores = {name: masks[name].float() for name in names}
        for name, chosen in pattern.masks(scores, sparsities).items():
            if (differing_entries := (chosen != masks[name]).nonzero()).numel():
                row, column = differing_entries[0].tolist()
                raise VerificationError(f"{name}: the mask breaks {label(pattern)} in row {row} at input {column}")


def label(pattern: Pattern) -> str:
    """Returns the pattern's class and arguments in words."""
    argument_text = ", ".join(f"{name}={value}" for name, value in arguments(pattern).items())
    return f"{type(pattern).__name__}({argument_text})" if argument_text else type(pattern).__name__


def _competing_targets(pattern: Pattern, masks: Mapping[str, Tensor], lvlm: LVLM) -> Iterator[list[str]]:
    """Yields the targets that compete with each other: all of a block if the pattern is joint, else each by itself."""
    by_block: dict[int, list[str]] = defaultdict(list)
    for name in masks:
        by_block[lvlm.block_of(name)].append(name)
    for names in by_block.values():
        yield from [names] if pattern.joint else ([name] for name in names)


def check_zeros(name: str, weight: Tensor, mask: Tensor, kept_zeros: int | None) -> None:
    """Checks that a target's weights (out, in) are zero where its mask prunes.

    Of the kept weights, ``kept_zeros`` must be zero; None skips this check.

    Raises:
        VerificationError: if not; the message names the first weight that is not zero, or both counts.
    """
    if (wrong_entries := ((weight != 0) & ~mask).nonzero()).numel():
        raise VerificationError(
            f"{name}: {_first_entry(wrong_entries)} is {float(weight[tuple(wrong_entries[0])])}, but the mask prunes it"
        )
    zeros = int(((weight == 0) & mask).count_nonzero())
    if kept_zeros is not None and zeros != kept_zeros:
        raise VerificationError(f"{name}: {zeros} kept weights are zero, but {kept_zeros} were when it was written")


@dataclass(frozen=True)
class BaseCheck:
    """Compares tensors with those of the base model, bit for bit.

    If ``updated``, the kept weights of targets may have changed and are not compared. Parameters that match a pattern
    in ``trained`` are not compared either.
    """

    base: SavedModel
    masks: PackedMasks
    updated: bool = False
    trained: Sequence[str] = ()

    def check_layout(self, pruned: SavedModel) -> None:
        """Raises VerificationError unless class, names, shapes and dtypes are equal."""
        pruned_class, base_class = type(pruned.lvlm.model).__name__, type(self.base.lvlm.model).__name__
        if pruned_class != base_class:
            raise VerificationError(f"base: the pruned model is a {pruned_class}, but the base model a {base_class}")
        for name in [*pruned.tensors, *self.base.tensors]:
            tensor, base_tensor = (model.tensors.get(name) for model in (pruned, self.base))
            if tensor is None or base_tensor is None:
                raise VerificationError(f"base: only the {'base' if tensor is None else 'pruned'} model has {name}")
            if tensor.shape != base_tensor.shape or tensor.dtype != base_tensor.dtype:
                raise VerificationError(
                    f"base: {name} is {_dtype_and_shape(base_tensor)} in the base model, "
                    f"but {_dtype_and_shape(tensor)} when pruned"
                )

    def check(self, name: str, ours: Tensor, views: Mapping[str, View]) -> None:
        """Raises VerificationError unless a parameter is bit-identical, after masking its targets if it has any.

        ``views`` extract the weights of its targets.
        """
        if any(fnmatch(name, pattern) for pattern in self.trained):
            return
        base_values = self.base.tensor(name)
        if not views.keys() & self.masks.keys():
            check_same_bits(name, ours, base_values, "the base model's")
            return
        for target, view in views.items():
            if target not in self.masks:
                check_same_bits(target, view(ours), view(base_values), "the base model's")
            elif not self.updated:
                masked_values = view(base_values).masked_fill(~self.masks[target], 0)
                check_same_bits(target, view(ours), masked_values, "the base model's among the kept weights")


def check_dense(base: SavedModel, masks: PackedMasks, views: Mapping[str, Mapping[str, View]]) -> None:
    """Checks that the base model is not itself zero where the masks prune.

    For a dense model, reading the first weight suffices. ``views`` extract the targets' weights from each parameter.

    Raises:
        VerificationError: if in every target fewer than 1 in 100 of the pruned weights are nonzero in the base model.
    """
    found_zeros = False
    for name, targets in views.items():
        for target in targets.keys() & masks.keys():
            weights = targets[target](base.tensor(name))[~masks[target]]
            if 100 * int(weights.count_nonzero()) >= max(1, weights.numel()):
                return
            found_zeros = found_zeros or bool(weights.numel())
    if found_zeros:
        base_name = base.lvlm.model.name_or_path
        raise VerificationError(
            f"base: expected the dense model that was pruned, got {base_name!r}, which is zero where the masks prune"
        )


def check_same_bits(name: str, actual: Tensor, expected: Tensor, expected_name: str = "what was packed of it") -> None:
    """Raises VerificationError unless both tensors are bit-identical; ``expected_name`` is the second one's name."""
    if not torch.equal(_bits(actual), _bits(expected)):
        differing_entries = (_bits(actual) != _bits(expected)).view(*actual.shape, -1).any(-1).nonzero()
        raise VerificationError(f"{name} differs from {expected_name}: first at {_first_entry(differing_entries)}")


def check_tensors(
    pruned: SavedModel,
    masks: PackedMasks,
    rows: Mapping[str, TargetReport] | None,
    base: BaseCheck | None,
    names: Iterable[str],
) -> tuple[int, int]:
    """Checks every tensor once, in the order of ``names``.

    Without ``rows``, as after training, zeros among kept weights are not counted.

    Returns:
        The numbers of tensors without and with pruned weights that were checked.

    Raises:
        VerificationError: at the first tensor that is wrong.
    """
    views, counts = targets_by_parameter(pruned.lvlm), [0, 0]
    for name in names:
        targets = views.get(name, {})
        masked = [target for target in targets if target in masks]
        counts[bool(masked)] += 1
        if not masked and base is None:
            continue
        values = pruned.tensor(name)
        for target in masked:
            check_zeros(target, targets[target](values), masks[target], rows[target].kept_zeros if rows else None)
        if base is not None:
            base.check(name, values, targets)
    return counts[0], counts[1]


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def _dtype_and_shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _first_entry(entries: Tensor) -> str:
    return f"entry {tuple(entries[0].tolist())}" if entries.shape[1] else "its only value"
