"""Parts of a plan that cannot be combined, whatever the model."""

from collections.abc import Iterator

from atv.allocation import Uniform
from atv.calibration.pathway_plan import PathwayPlan
from atv.refinement import BlockReconstruction, MeanToBias


def contradictions(plan: PathwayPlan) -> Iterator[str]:
    """Yields a message for each pair of contradictory parts: which they are, and what to choose instead."""
    plugins = (plan.criterion, plan.pattern, plan.allocation, plan.reconstruct)
    criterion, pattern, allocation, reconstruct = (type(plugin).__name__ for plugin in plugins)
    uniform = isinstance(plan.allocation, Uniform)
    if plan.pattern.sparsity is not None and not uniform:
        yield (
            f"allocation: the pattern {pattern} fixes the sparsity of every Linear, so {allocation} has nothing to "
            "share out; choose Uniform"
        )
    if plan.pattern.by_block and not plan.allocation.chooses_blocks:
        yield (
            f"allocation: the pattern {pattern} removes whole blocks, but {allocation} does not choose blocks; choose "
            "BlockInfluence"
        )
    if plan.pattern.reroutes and not uniform:
        yield (
            f"allocation: the pattern {pattern} leaves the same number of experts in every block, so {allocation} has "
            "nothing to share out; choose Uniform"
        )
    if plan.pattern.joint and not plan.allocation.by_block:
        yield (
            f"allocation: {allocation} sets the sparsity of each Linear, but under the pattern {pattern} the Linears "
            "of a block compete; choose an allocation by block, such as Uniform, OWL or DLP"
        )
    if plan.criterion.needs_saliency and not plan.pattern.reroutes:
        yield (
            f"criterion: {criterion} scores whole experts, but {pattern} removes none; choose the pattern WholeExperts"
        )
    if plan.refine and plan.criterion.updates_weights and plan.reconstruct is None:
        yield (
            f"refine: {type(plan.refine[0]).__name__} moves zeros, but {criterion} updates kept weights for their "
            "old positions; choose a reconstruct step as well, such as LeastSquares"
        )
    if isinstance(plan.reconstruct, MeanToBias) and plan.criterion.updates_weights:
        yield (
            f"reconstruct: {reconstruct} keeps the dense weights, so the updates by {criterion} would be lost; "
            "choose LeastSquares, or a criterion that only scores, such as Wanda"
        )
    if plan.pattern.by_block and isinstance(plan.reconstruct, BlockReconstruction):
        yield (
            f"reconstruct: {reconstruct} trains what is left of a block, but the pattern {pattern} leaves all of it "
            "or nothing; choose another pattern"
        )
