"""Which parts of a plan cannot go together, whatever the model."""

from collections.abc import Iterator

from atv.allocation import Uniform
from atv.calibration.pathway_plan import PathwayPlan
from atv.refinement import BlockReconstruction, MeanToBias


def contradictions(plan: PathwayPlan) -> Iterator[str]:
    """What is wrong with each pair of parts that contradict each other: both, and what to choose instead."""
    parts = (plan.criterion, plan.pattern, plan.allocation, plan.reconstruct)
    criterion, pattern, allocation, reconstruct = (type(part).__name__ for part in parts)
    uniform = isinstance(plan.allocation, Uniform)
    if plan.pattern.sparsity is not None and not uniform:
        yield (
            f"allocation: the pattern {pattern} fixes the sparsity of every Linear, so {allocation} has nothing to "
            "share out; choose Uniform"
        )
    if plan.pattern.by_block and not plan.allocation.chooses_blocks:
        yield (
            f"allocation: under the pattern {pattern} a block goes whole or stays, and {allocation} does not choose "
            "blocks; choose BlockInfluence"
        )
    if plan.pattern.reroutes and not uniform:
        yield (
            f"allocation: the pattern {pattern} leaves as many experts in every block, so {allocation} has nothing to "
            "share out; choose Uniform"
        )
    if plan.pattern.joint and not plan.allocation.by_block:
        yield (
            f"allocation: {allocation} says what each Linear loses, but under the pattern {pattern} the Linears of a "
            "block compete; choose one by block, such as Uniform, OWL or DLP"
        )
    if plan.criterion.needs_saliency and not plan.pattern.reroutes:
        yield (
            f"criterion: {criterion} scores whole experts, and {pattern} takes none out; choose the pattern "
            "WholeExperts"
        )
    if plan.refine and plan.criterion.updates_weights and plan.reconstruct is None:
        yield (
            f"refine: {type(plan.refine[0]).__name__} moves zeros, and {criterion} updates kept weights for where they "
            "were; choose a reconstruct as well, such as LeastSquares"
        )
    if isinstance(plan.reconstruct, MeanToBias) and plan.criterion.updates_weights:
        yield (
            f"reconstruct: {reconstruct} keeps the dense weights, so what {criterion} makes of them would be lost; "
            "choose LeastSquares, or a criterion that scores alone, such as Wanda"
        )
    if plan.pattern.by_block and isinstance(plan.reconstruct, BlockReconstruction):
        yield (
            f"reconstruct: {reconstruct} trains what is left of a block, and under the pattern {pattern} nothing is, "
            "or all; choose another pattern"
        )
