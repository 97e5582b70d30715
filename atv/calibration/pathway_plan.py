"""How one pathway is pruned."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from atv.allocation import Allocation, DenseStatistics, Uniform
from atv.criteria import Criterion, PoolStatistics, Pruned
from atv.model.targets import Target
from atv.patterns import Pattern
from atv.plugins import ContractError
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

    def __post_init__(self) -> None:
        kind, pattern = type(self.allocation).__name__, type(self.pattern).__name__
        if self.pattern.sparsity is not None and not isinstance(self.allocation, Uniform):
            raise ValueError(
                f"allocation: the pattern {pattern} fixes the sparsity of every Linear, so {kind} has nothing to share "
                "out; choose Uniform"
            )
        if self.pattern.joint and not self.allocation.by_block:
            raise ValueError(
                f"allocation: {kind} says what each Linear loses, but under the pattern {pattern} the Linears of a "
                "block compete; choose one by block, such as Uniform, OWL or DLP"
            )

    def check(self, targets: Mapping[str, Target]) -> None:
        """Whether every part can serve every target.

        Raises:
            ValueError: for a target that the pattern does not fit, or an expert where a part knows Linears alone.
        """
        for name, target in targets.items():
            try:
                mask = self.pattern.mask(torch.zeros(1, target.in_features), self.sparsity)
            except ValueError as error:
                raise ValueError(f"{error} ({name})") from error
            if mask.shape != (1, target.in_features) or mask.dtype != torch.bool:
                kind, made = type(self.pattern).__name__, f"{mask.dtype} {tuple(mask.shape)}"
                raise ContractError(f"pattern: {kind}.mask gave {made} for scores of (1, {target.in_features}): {name}")
            if not isinstance(target, nn.Linear) and (part := self._for_linears()):
                raise ValueError(f"{part} knows Linears alone, and {name} is an expert; name targets without experts")

    def _for_linears(self) -> str | None:
        """The first part that needs what is not gathered of experts."""
        if self.selection.per_linear:
            return f"selection: {type(self.selection).__name__}"
        if self.criterion.needs_gram:
            return f"criterion: {type(self.criterion).__name__}"
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

    def prune(self, weights: Mapping[str, Tensor], pools: Mapping[str, PoolStatistics]) -> dict[str, Pruned]:
        """The Linears of a block, each by itself or, where the pattern is joint, with masks decided together."""
        masks: dict[str, Tensor] = {}
        if self.pattern.joint:
            scores = {name: self.criterion.checked_score(weight, pools[name]) for name, weight in weights.items()}
            masks = self.pattern.masks(scores, self.sparsities)
        return {name: self._one(name, weight, pools[name], masks.get(name)) for name, weight in weights.items()}

    def _one(self, name: str, weight: Tensor, pool: PoolStatistics, mask: Tensor | None) -> Pruned:
        try:
            return self.criterion.prune(weight, pool, self.pattern, self.sparsities[name], mask)
        except ValueError as error:
            raise ValueError(f"{error} ({name})") from error
