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
        asked = {name: self.kinds[pattern] for name in linears if (pattern := self._pattern(name)) is not None}
        if unused := set(self.kinds) - {self._pattern(name) for name in asked}:
            raise ValueError(f"kinds: no pruned Linear is left for {', '.join(sorted(unused))}")
        size = sizes(linears)
        whole = sum(size.values())
        left = sparsity * whole - sum(asked[name] * size[name] for name in asked)
        others = sum(size[name] for name in linears if name not in asked)
        rest = left / others if others else 0.0
        # Due to float rounding, a target that is met exactly leaves slightly more or less than zero.
        rounding = 1e-9 * whole
        if left < -rounding or rest >= 1 or (not others and left > rounding):
            raise ValueError(
                f"kinds: {self.kinds} would require a sparsity of {rest:.4g} in the other Linears, so {sparsity} "
                "cannot be met"
            )
        return {name: asked.get(name, max(rest, 0.0)) for name in linears}

    def _pattern(self, name: str) -> str | None:
        return next((kind for kind in self.kinds if matches(name, kind)), None)
