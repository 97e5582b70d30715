"""Shares of weights to keep that meet a budget."""

from collections.abc import Mapping

from atv.model.targets import Target

# How far the weighted mean of shares may be from its target.
_PRECISION = 1e-12


def sizes(linears: Mapping[str, Target]) -> dict[str, int]:
    """Name of each Linear -> its number of weights."""
    return {name: linear.weight.numel() for name, linear in linears.items()}


def mean(values: Mapping[str, float], size: Mapping[str, int]) -> float:
    """Mean of the values, weighted by size."""
    return sum(values[name] * size[name] for name in size) / sum(size.values())


def shifted(
    wanted: Mapping[str, float], size: Mapping[str, int], target: float, low: float, high: float
) -> dict[str, float]:
    """The wanted shares, all moved by one number and clipped to [low, high], so that their weighted mean is the target.

    ``target`` must lie in [low, high].
    """

    def clipped(shift: float) -> dict[str, float]:
        return {name: min(max(share + shift, low), high) for name, share in wanted.items()}

    if low <= min(wanted.values()) and max(wanted.values()) <= high and abs(mean(wanted, size) - target) <= _PRECISION:
        return dict(wanted)
    below, above = low - max(wanted.values()), high - min(wanted.values())
    while above - below > _PRECISION:
        middle = (below + above) / 2
        below, above = (middle, above) if mean(clipped(middle), size) < target else (below, middle)
    return clipped(above)


def scaled(wanted: Mapping[str, float], size: Mapping[str, int], target: float) -> dict[str, float]:
    """The wanted shares, all multiplied by one number and cut off at 1, so that their weighted mean is the target.

    Shares are above 0, and ``target`` lies in [0, 1].
    """

    def cut(factor: float) -> dict[str, float]:
        return {name: min(share * factor, 1.0) for name, share in wanted.items()}

    # Where nothing is cut off, one division does it.
    exact = target / mean(wanted, size)
    if exact * max(wanted.values()) <= 1:
        return cut(exact)
    below, above = 0.0, 1 / min(wanted.values())
    while above - below > _PRECISION * above:
        middle = (below + above) / 2
        below, above = (middle, above) if mean(cut(middle), size) < target else (below, middle)
    return cut(above)


def proportional(
    importance: Mapping[str, float], size: Mapping[str, int], target: float, floor: float
) -> dict[str, float]:
    """Shares to keep: ``floor`` of every Linear, and what is left of the target in proportion to importance.

    What is left is counted in weights, whatever a Linear's size; a Linear that is full passes its part on. Where no
    importance is left, sizes stand in for it.
    """
    kept = {name: floor * count for name, count in size.items()}
    left = target * sum(size.values()) - sum(kept.values())
    while left > _PRECISION * sum(size.values()):
        room = {name: size[name] - kept[name] for name in size if size[name] > kept[name]}
        weight = {name: importance[name] for name in room}
        if not sum(weight.values()):
            weight = {name: float(size[name]) for name in room}
        total = sum(weight.values())
        added = {name: min(left * (weight[name] / total), room[name]) for name in room}
        kept = {name: size[name] if added.get(name) == room.get(name) else kept[name] + added[name] for name in size}
        left -= sum(added.values())
    return {name: kept[name] / size[name] for name in size}
