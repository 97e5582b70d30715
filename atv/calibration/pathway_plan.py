"""How one pathway is pruned."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from atv.allocation import Allocation, DenseStatistics, Uniform
from atv.criteria import Criterion, PoolStatistics, Pruned
from atv.model.lvlm import LVLM
from atv.model.targets import Target
from atv.patterns import Pattern
from atv.plugins import ContractError
from atv.refinement import Reconstruction, Refinement
from atv.runtime.timing import now
from atv.selection import TokenSelection


@dataclass(frozen=True)
class Plan:
    """The parts, the global sparsity, and each Linear's ``sparsities`` once the allocation is known.

    Raises:
        ValueError: for parts that contradict each other.
    """

    selection: TokenSelection
    criterion: Criterion
    pattern: Pattern
    allocation: Allocation
    sparsity: float
    sparsities: Mapping[str, float] = field(default_factory=dict)
    refine: Refinement | None = None
    reconstruct: Reconstruction | None = None

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
        if self.refine is not None and self.criterion.updates_weights and self.reconstruct is None:
            raise ValueError(
                f"refine: {type(self.refine).__name__} moves zeros, and {type(self.criterion).__name__} updates kept "
                "weights for where they were; choose a reconstruct as well, such as LeastSquares"
            )

    @property
    def steps(self) -> tuple[Criterion | Refinement | Reconstruction, ...]:
        """What uses the pool's statistics, in order."""
        following = (self.refine, self.reconstruct)
        return (self.criterion, *(step for step in following if step is not None))

    @property
    def needs_gram(self) -> bool:
        return any(step.needs_gram for step in self.steps)

    @property
    def needs_moments(self) -> bool:
        return any(step.needs_moments for step in self.steps)

    @property
    def updates_weights(self) -> bool:
        """Whether kept weights may change."""
        return self.criterion.updates_weights or self.reconstruct is not None

    def check(self, lvlm: LVLM, targets: Mapping[str, Target]) -> None:
        """Whether every part can serve every target.

        Raises:
            ValueError: for a target that the pattern does not fit, or an expert where a part knows Linears alone.
        """
        self.pattern.check(lvlm, targets, self.sparsity)
        for name, target in targets.items():
            if self.refine is not None and self.pattern.swap_width(target.in_features) is None:
                step, kind = type(self.refine).__name__, type(self.pattern).__name__
                raise ValueError(
                    f"refine: {step} moves zeros, and the pattern {kind} does not say where they may go (swap_width); "
                    "choose another pattern"
                )
            if not isinstance(target, nn.Linear) and (part := self._for_linears()):
                raise ValueError(f"{part} knows Linears alone, and {name} is an expert; name targets without experts")

    def _for_linears(self) -> str | None:
        """The first part that needs what is not gathered of experts."""
        if self.selection.per_linear:
            return f"selection: {type(self.selection).__name__}"
        for option, step in (("criterion", self.criterion), ("refine", self.refine), ("reconstruct", self.reconstruct)):
            if step is not None and (step.needs_gram or step.needs_moments):
                return f"{option}: {type(step).__name__}"
        return f"allocation: {type(self.allocation).__name__}" if self.allocation.needs_dense else None

    def allotted(self, targets: Mapping[str, Target], dense: DenseStatistics) -> "Plan":
        """The plan with every Linear's sparsity.

        Raises:
            ValueError: for a sparsity outside [0, 1], or a Linear that the allocation leaves out.
        """
        shares = self.allocation.allocate(targets, self.sparsity, dense)
        if not isinstance(shares, Mapping):
            kind, given = type(self.allocation).__name__, type(shares).__name__
            raise ContractError(f"allocation: {kind}.allocate gave a {given}; expected a dict of names to sparsities")
        for name in targets:
            if not 0 <= (share := shares.get(name, -1.0)) <= 1:
                given = share if name in shares else "no sparsity"
                raise ValueError(f"allocation: {type(self.allocation).__name__} gave {given} for {name}")
        # Counts are rounded down, so binary noise could cost a row a weight.
        return replace(self, sparsities={name: round(shares[name], 9) for name in targets})

    def prune(
        self,
        weights: Mapping[str, Tensor],
        pools: Mapping[str, PoolStatistics],
        seconds: dict[str, float] | None = None,
    ) -> dict[str, Pruned]:
        """The Linears of a block, each by itself or, where the pattern is joint, with masks decided together.

        What each step took is added to ``seconds`` by its option, if given.
        """
        taken = {} if seconds is None else seconds
        masks: dict[str, Tensor] = {}
        if self.pattern.joint:
            scores = {name: self.criterion.checked_score(weight, pools[name]) for name, weight in weights.items()}
            masks = self.pattern.masks(scores, self.sparsities)
        return {name: self._one(name, weight, pools[name], masks.get(name), taken) for name, weight in weights.items()}

    def _one(
        self, name: str, weight: Tensor, pool: PoolStatistics, mask: Tensor | None, taken: dict[str, float]
    ) -> Pruned:
        try:
            with _timed(taken, "criterion"):
                made = self.criterion.prune(weight, pool, self.pattern, self.sparsities[name], mask)
            if self.refine is not None:
                with _timed(taken, "refine"):
                    made = Pruned(self._refined(self.refine, weight, made.mask, pool))
            if self.reconstruct is not None:
                with _timed(taken, "reconstruct"):
                    made = Pruned(made.mask, self.reconstruct.reconstruct(weight, made.mask, pool))
        except ValueError as error:
            raise ValueError(f"{error} ({name})") from error
        return made

    def _refined(self, step: Refinement, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        """The refined mask, checked to have as many pruned weights in each group of a row as before."""
        width = self.pattern.swap_width(weight.shape[1])
        assert width is not None
        refined = step.refine(weight, mask, pool, width)
        before, after = (part.cpu().unflatten(1, (-1, width)).sum(-1) for part in (mask, refined))
        if refined.dtype != torch.bool or not torch.equal(before, after):
            raise ContractError(f"refine: {type(step).__name__} changed how many weights a row or group keeps")
        return refined


@contextmanager
def _timed(taken: dict[str, float], step: str) -> Iterator[None]:
    started = now()
    yield
    taken[step] = taken.get(step, 0.0) + now() - started
