"""Shares of weights to keep, adjusted so that they meet a budget."""

from collections.abc import Mapping

from atv.model.targets import Target

# Tolerance of the weighted mean of shares around its target.
_PRECISION = 1e-12


def sizes(linears: Mapping[str, Target]) -> dict[str, int]:
    """Returns the number of weights of each Linear by name."""
    return {name: linear.weight.numel() for name, linear in linears.items()}


def mean(values: Mapping[str, float], size: Mapping[str, int]) -> float:
    """Returns the mean of the values, weighted by size."""
    return sum(values[name] * size[name] for name in size) / sum(size.values())


def shifted(
    desired: Mapping[str, float], size: Mapping[str, int], target: float, low: float, high: float
) -> dict[str, float]:
    """Returns the desired shares, shifted by a common number and clipped to [low, high], with ``target`` as their mean.

    The mean is weighted by size, and ``target`` must be in [low, high].
    """

    def clipped(shift: float) -> dict[str, float]:
        return {name: min(max(share + shift, low), high) for name, share in desired.items()}

    if (
        low <= min(desired.values())
        and max(desired.values()) <= high
        and abs(mean(desired, size) - target) <= _PRECISION
    ):
        return dict(desired)
    below, above = low - max(desired.values()), high - min(desired.values())
    while above - below > _PRECISION:
        middle = (below + above) / 2
        below, above = (middle, above) if mean(clipped(middle), size) < target else (below, middle)
    return clipped(above)


def scaled(desired: Mapping[str, float], size: Mapping[str, int], target: float) -> dict[str, float]:
    """Returns the desired shares, multiplied by a common factor and capped at 1, with ``target`` as their mean.

    The mean is weighted by size. Shares must be above 0, and ``target`` must be in [0, 1].
    """

    def capped(factor: float) -> dict[str, float]:
        return {name: min(share * factor, 1.0) for name, share in desired.items()}

    # If no share is capped, one division suffices.
    factor_without_cap = target / mean(desired, size)
    if factor_without_cap * max(desired.values()) <= 1:
        return capped(factor_without_cap)
    below, above = 0.0, 1 / min(desired.values())
    while above - below > _PRECISION * above:
        middle = (below + above) / 2
        below, above = (middle, above) if mean(capped(middle), size) < target else (below, middle)
    return capped(above)


def proportional(
    importance: Mapping[str, float], size: Mapping[str, int], target: float, floor: float
) -> dict[str, float]:
    """Returns shares to keep: ``floor`` of every Linear, and the rest of the target in proportion to importance.

    The rest is distributed in numbers of weights, regardless of a Linear's size. Once a Linear is kept whole, the
    others share its excess. If the remaining Linears have no importance, their sizes take its place.
    """
    kept_counts = {name: floor * count for name, count in size.items()}
    unassigned = target * sum(size.values()) - sum(kept_counts.values())
    while unassigned > _PRECISION * sum(size.values()):
        room = {name: size[name] - kept_counts[name] for name in size if size[name] > kept_counts[name]}
        share_weight = {name: importance[name] for name in room}
        if not sum(share_weight.values()):
            share_weight = {name: float(size[name]) for name in room}
        total = sum(share_weight.values())
        additions = {name: min(unassigned * (share_weight[name] / total), room[name]) for name in room}
        kept_counts = {
            name: size[name] if additions.get(name) == room.get(name) else kept_counts[name] + additions[name]
            for name in size
        }
        unassigned -= sum(additions.values())
    return {name: kept_counts[name] / size[name] for name in size}
