"""Which parts of a plan cannot go together, whatever the model."""

from collections.abc import Sequence

from atv.allocation import Allocation, Uniform
from atv.criteria import Criterion
from atv.patterns import Pattern
from atv.refinement import BlockReconstruction, MeanToBias, Reconstruction, Refinement


def refuse_contradictions(
    criterion: Criterion,
    pattern: Pattern,
    allocation: Allocation,
    refine: Sequence[Refinement],
    reconstruct: Reconstruction | None,
) -> None:
    """Checks a plan's parts against each other.

    Raises:
        ValueError: for the first pair that contradict each other; the message names both and what to choose instead.
    """
    _check_allocation(allocation, pattern)
    _check_criterion(criterion, pattern)
    if refine and criterion.updates_weights and reconstruct is None:
        raise ValueError(
            f"refine: {type(refine[0]).__name__} moves zeros, and {type(criterion).__name__} updates kept weights for "
            "where they were; choose a reconstruct as well, such as LeastSquares"
        )
    if reconstruct is not None:
        _check_reconstruction(reconstruct, criterion, pattern)


def _check_allocation(allocation: Allocation, pattern: Pattern) -> None:
    kind, of_pattern = type(allocation).__name__, type(pattern).__name__
    if pattern.sparsity is not None and not isinstance(allocation, Uniform):
        raise ValueError(
            f"allocation: the pattern {of_pattern} fixes the sparsity of every Linear, so {kind} has nothing to share "
            "out; choose Uniform"
        )
    if pattern.by_block and not allocation.chooses_blocks:
        raise ValueError(
            f"allocation: under the pattern {of_pattern} a block goes whole or stays, and {kind} does not choose "
            "blocks; choose BlockInfluence"
        )
    if pattern.reroutes and not isinstance(allocation, Uniform):
        raise ValueError(
            f"allocation: the pattern {of_pattern} leaves as many experts in every block, so {kind} has nothing to "
            "share out; choose Uniform"
        )
    if pattern.joint and not allocation.by_block:
        raise ValueError(
            f"allocation: {kind} says what each Linear loses, but under the pattern {of_pattern} the Linears of a "
            "block compete; choose one by block, such as Uniform, OWL or DLP"
        )


def _check_criterion(criterion: Criterion, pattern: Pattern) -> None:
    if criterion.needs_saliency and not pattern.reroutes:
        raise ValueError(
            f"criterion: {type(criterion).__name__} scores whole experts, and {type(pattern).__name__} takes none out; "
            "choose the pattern WholeExperts"
        )


def _check_reconstruction(reconstruct: Reconstruction, criterion: Criterion, pattern: Pattern) -> None:
    kind = type(reconstruct).__name__
    if isinstance(reconstruct, MeanToBias) and criterion.updates_weights:
        raise ValueError(
            f"reconstruct: {kind} keeps the dense weights, so what {type(criterion).__name__} makes of them would be "
            "lost; choose LeastSquares, or a criterion that scores alone, such as Wanda"
        )
    if pattern.by_block and isinstance(reconstruct, BlockReconstruction):
        raise ValueError(
            f"reconstruct: {kind} trains what is left of a block, and under the pattern {type(pattern).__name__} "
            "nothing is, or all; choose another pattern"
        )
