"""Sparsity by kind of Linear."""

from collections.abc import Mapping

from atv.allocation.base import Allocation, DenseStatistics
from atv.allocation.budget import sizes
from atv.model.lvlm import matches
from atv.model.targets import Target


class ByKind(Allocation):
    """Sets the sparsity of some kinds of Linear (attention, FFN); all others get what is left to meet the target.

    Args:
        kinds: sparsities by name or shell-style pattern (as for targets), such as {"*_attn.*": 0.3}. If several match a
            Linear, the first one counts.

    Raises:
        ValueError: if a sparsity is outside [0, 1).
    """

    def __init__(self, kinds: dict[str, float]) -> None:
        for pattern, value in kinds.items():
            if not 0 <= value < 1:
                raise ValueError(f"kinds: expected a number in [0, 1) for {pattern!r}, got {value}")
        self.kinds = kinds

    def allocate(self, linears: Mapping[str, Target], sparsity: float, dense: DenseStatistics) -> dict[str, float]:
        """Returns the sparsity of each Linear by name.

        Raises:
            ValueError: if a pattern determines no Linear, or the other Linears cannot meet the target.
        """
        set_sparsities = {
            name: self.kinds[pattern] for name in linears if (pattern := self._first_match(name)) is not None
        }
        if unused := set(self.kinds) - {self._first_match(name) for name in set_sparsities}:
            raise ValueError(f"kinds: no pruned Linear is left for {', '.join(sorted(unused))}")
        size = sizes(linears)
        total = sum(size.values())
        remaining = sparsity * total - sum(set_sparsities[name] * size[name] for name in set_sparsities)
        other_count = sum(size[name] for name in linears if name not in set_sparsities)
        other_sparsity = remaining / other_count if other_count else 0.0
        # Due to float rounding, a target that is met exactly leaves slightly more or less than zero.
        rounding = 1e-9 * total
        if remaining < -rounding or other_sparsity >= 1 or (not other_count and remaining > rounding):
            raise ValueError(
                f"kinds: {self.kinds} would require a sparsity of {other_sparsity:.4g} in the other Linears, "
                f"so {sparsity} cannot be met"
            )
        return {name: set_sparsities.get(name, max(other_sparsity, 0.0)) for name in linears}

    def _first_match(self, name: str) -> str | None:
        return next((pattern for pattern in self.kinds if matches(name, pattern)), None)
