"""How one pathway is pruned."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from atv.allocation import Allocation, DenseStatistics, Uniform
from atv.calibration.contracts import check_shares
from atv.calibration.in_place import unchanged
from atv.criteria import Criterion, PoolStatistics, Pruned
from atv.model.lvlm import LVLM
from atv.model.targets import Target
from atv.patterns import Pattern
from atv.plugins import ContractError
from atv.refinement import BlockReconstruction, MeanToBias, Reconstruction, Refinement
from atv.runtime.timing import now
from atv.selection import PartedSelection, TokenSelection


class StepsTaken:
    """What the steps of a block took and came to: ``seconds`` of each, and ``errors`` by Linear after each."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.errors: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        started = now()
        yield
        self.seconds[step] += now() - started

    def lost(self, step: str, weight: Tensor, made: Pruned, pool: PoolStatistics) -> None:
        """Notes the share of a Linear's squared output that is lost after a step, where X^T X tells it: not with a bias
        that moved."""
        if pool.gram is not None and made.shift is None:
            self.errors[step].append(pool.share_lost(weight, made.applied_to(weight)))

    def mean_errors(self) -> dict[str, float]:
        """The mean over Linears, by step."""
        return {step: sum(errors) / len(errors) for step, errors in self.errors.items()}


@dataclass(frozen=True)
class PathwayPlan:
    """The parts, the global sparsity, and each Linear's ``sparsities`` once the allocation is known.

    ``measured`` is what the selection measured of the dense model, where it needs to.

    Raises:
        ValueError: for parts that contradict each other.
    """

    selection: TokenSelection
    criterion: Criterion
    pattern: Pattern
    allocation: Allocation
    sparsity: float
    sparsities: Mapping[str, float] = field(default_factory=dict)
    refine: tuple[Refinement, ...] = ()
    reconstruct: Reconstruction | None = None
    measured: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind, pattern = type(self.allocation).__name__, type(self.pattern).__name__
        if self.pattern.sparsity is not None and not isinstance(self.allocation, Uniform):
            raise ValueError(
                f"allocation: the pattern {pattern} fixes the sparsity of every Linear, so {kind} has nothing to share "
                "out; choose Uniform"
            )
        if self.pattern.by_block and not self.allocation.chooses_blocks:
            raise ValueError(
                f"allocation: under the pattern {pattern} a block goes whole or stays, and {kind} does not choose "
                "blocks; choose BlockInfluence"
            )
        if self.pattern.reroutes and not isinstance(self.allocation, Uniform):
            raise ValueError(
                f"allocation: the pattern {pattern} leaves as many experts in every block, so {kind} has nothing to "
                "share out; choose Uniform"
            )
        if self.criterion.needs_saliency and not self.pattern.reroutes:
            raise ValueError(
                f"criterion: {type(self.criterion).__name__} scores whole experts, and {pattern} takes none out; "
                "choose the pattern WholeExperts"
            )
        if self.pattern.joint and not self.allocation.by_block:
            raise ValueError(
                f"allocation: {kind} says what each Linear loses, but under the pattern {pattern} the Linears of a "
                "block compete; choose one by block, such as Uniform, OWL or DLP"
            )
        if self.refine and self.criterion.updates_weights and self.reconstruct is None:
            raise ValueError(
                f"refine: {type(self.refine[0]).__name__} moves zeros, and {type(self.criterion).__name__} updates "
                "kept weights for where they were; choose a reconstruct as well, such as LeastSquares"
            )
        if isinstance(self.reconstruct, MeanToBias) and self.criterion.updates_weights:
            raise ValueError(
                f"reconstruct: {type(self.reconstruct).__name__} keeps the dense weights, so what "
                f"{type(self.criterion).__name__} makes of them would be lost; choose LeastSquares, or a criterion "
                "that scores alone, such as Wanda"
            )
        if self.pattern.by_block and isinstance(self.reconstruct, BlockReconstruction):
            raise ValueError(
                f"reconstruct: {type(self.reconstruct).__name__} trains what is left of a block, and under the pattern "
                f"{pattern} nothing is, or all; choose another pattern"
            )

    @property
    def following(self) -> tuple[Refinement | Reconstruction, ...]:
        """The steps after the criterion that take each Linear by itself, in order."""
        step = self.reconstruct.first if isinstance(self.reconstruct, BlockReconstruction) else self.reconstruct
        return self.refine if step is None else (*self.refine, step)

    @property
    def needs_gram(self) -> bool:
        return any(step.needs_gram for step in (self.criterion, *self.following))

    @property
    def needs_moments(self) -> bool:
        return any(step.needs_moments for step in (self.criterion, *self.following))

    @property
    def updates_weights(self) -> bool:
        """Whether kept weights may change."""
        return self.criterion.updates_weights or self.reconstruct is not None

    @property
    def updates_biases(self) -> bool:
        """Whether the targets' biases may change."""
        return self.reconstruct is not None and self.reconstruct.needs_bias

    def check(self, lvlm: LVLM, targets: Mapping[str, Target]) -> None:
        """Whether every part can serve every target.

        Raises:
            ValueError: for a target that the pattern does not fit, one without a bias where that is to move, or an
                expert where a part knows Linears alone.
        """
        self.pattern.check(lvlm, targets, self.sparsity)
        for name, target in targets.items():
            if self.refine and self.pattern.swap_width(target.in_features) is None:
                step, kind = type(self.refine[0]).__name__, type(self.pattern).__name__
                raise ValueError(
                    f"refine: {step} moves zeros, and the pattern {kind} does not say where they may go (swap_width); "
                    "choose another pattern"
                )
            if self.updates_biases and getattr(target, "bias", None) is None:
                kind = type(self.reconstruct).__name__
                raise ValueError(
                    f"reconstruct: {kind} moves what is lost into biases, and {name} has none; name targets that have "
                    "one, or choose LeastSquares"
                )
            if not isinstance(target, nn.Linear) and (part := self._for_linears()):
                raise ValueError(f"{part} knows Linears alone, and {name} is an expert; name targets without experts")

    def _for_linears(self) -> str | None:
        """The first part that needs what is not gathered of experts."""
        if self.selection.per_linear or isinstance(self.selection, PartedSelection):
            return f"selection: {type(self.selection).__name__}"
        for step in (self.criterion, *self.following):
            if step.needs_gram or step.needs_moments or (step is self.criterion and self.criterion.needs_gradient):
                return f"{_option(step)}: {type(step).__name__}"
        if isinstance(self.reconstruct, BlockReconstruction):
            return f"reconstruct: {type(self.reconstruct).__name__}"
        return f"allocation: {type(self.allocation).__name__}" if self.allocation.needs_dense else None

    def allotted(self, targets: Mapping[str, Target], dense: DenseStatistics) -> "PathwayPlan":
        """The plan with every Linear's sparsity.

        Raises:
            ValueError: for a sparsity outside [0, 1], a Linear that the allocation leaves out, or another mean.
        """
        weights = {name: target.weight for name, target in targets.items()}
        with unchanged("allocation", self.allocation, "allocate", weights=weights, dense=dense):
            shares = self.allocation.allocate(targets, self.sparsity, dense)
        check_shares(self.allocation, shares, targets, self.sparsity, dense)
        # Counts are rounded down, so binary noise could cost a row a weight.
        return replace(self, sparsities={name: round(shares[name], 9) for name in targets})

    def prune(
        self,
        weights: Mapping[str, Tensor],
        pools: Mapping[str, PoolStatistics],
        taken: StepsTaken | None = None,
    ) -> dict[str, Pruned]:
        """The Linears of a block, each by itself or, where the pattern is joint, with masks decided together.

        What each step took, and what it came to, is added to ``taken``, if given.
        """
        taken = taken or StepsTaken()
        masks: dict[str, Tensor] = {}
        if self.pattern.joint:
            with unchanged("criterion", self.criterion, "score", weights=weights, pools=pools):
                scores = {name: self.criterion.checked_score(weight, pools[name]) for name, weight in weights.items()}
            masks = self.pattern.checked_masks(scores, self.sparsities)
        return {name: self._one(name, weight, pools[name], masks.get(name), taken) for name, weight in weights.items()}

    def _one(self, name: str, weight: Tensor, pool: PoolStatistics, mask: Tensor | None, taken: StepsTaken) -> Pruned:
        try:
            method = "prune" if self.criterion.updates_weights else "score"
            with taken.timed("criterion"), unchanged("criterion", self.criterion, method, weight=weight, pool=pool):
                made = self.criterion.prune(weight, pool, self.pattern, self.sparsities[name], mask)
                _check_finite(self.criterion, weight, made)
            if self.following:
                taken.lost("criterion", weight, made, pool)
            for place, step in enumerate(self.following, start=1):
                # Several refinements are told apart by their places.
                called = f"refine {place}" if len(self.refine) > 1 and place <= len(self.refine) else _option(step)
                given = {"weight": weight, "mask": made.mask, "pool": pool}
                with taken.timed(called), unchanged(_option(step), step, _option(step), **given):
                    if isinstance(step, Refinement):
                        made = Pruned(self._refined(step, weight, made.mask, pool))
                    else:
                        made = self._reconstructed(step, weight, made.mask, pool)
                        _check_finite(step, weight, made)
                taken.lost(called, weight, made, pool)
        except ContractError as error:
            raise ContractError(f"{error} ({name})") from error
        except ValueError as error:
            raise ValueError(f"{error} ({name})") from error
        return made

    def _reconstructed(self, step: Reconstruction, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Pruned:
        shift = step.shift(weight, mask, pool) if step.needs_bias else None
        return Pruned(mask, step.reconstruct(weight, mask, pool), shift)

    def _refined(self, step: Refinement, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        """The refined mask, checked to have as many pruned weights in each group of a row as before."""
        width = self.pattern.swap_width(weight.shape[1])
        assert width is not None
        refined = step.refine(weight, mask, pool, width)
        before, after = (part.cpu().unflatten(1, (-1, width)).sum(-1) for part in (mask, refined))
        if refined.dtype != torch.bool or not torch.equal(before, after):
            raise ContractError(f"refine: {type(step).__name__} changed how many weights a row or group keeps")
        return refined


def _check_finite(step: Criterion | Reconstruction, weight: Tensor, made: Pruned) -> None:
    """Raises a ContractError where what is kept is not finite in the dense weight's dtype."""
    if made.weight is not None and not bool(made.applied_to(weight).isfinite().all()):
        raise ContractError(f"{_option(step)}: {type(step).__name__} gave weights that are not finite")


def _option(step: Criterion | Refinement | Reconstruction) -> str:
    kinds = {Criterion: "criterion", Refinement: "refine", Reconstruction: "reconstruct"}
    return next(option for kind, option in kinds.items() if isinstance(step, kind))
