"""How much visual tokens weigh, found block by block without a hand."""

import math
from collections.abc import Mapping

from atv.selection.parts import ObservedBlock, PartedSelection


class BalancedPools(PartedSelection):
    """Text, and visual tokens with the weight under which the modality that loses most loses least, block by block.

    A weight b means X^T X of text / n_text + b times that of visual tokens / n_visual. Each b is tried with Wanda's
    mask of one half of the samples; the other half tells what share of its squared outputs a Linear then loses on text
    and on visual tokens, e_text and e_visual (from norms, as if channels were uncorrelated). Chosen is the b with the
    least max(d_text e_text, d_visual e_visual), the smallest of equal ones, where d is a modality's mean drift: of
    tokens that a block hardly turns, it can lose little. It takes no pass more than other rules.

    Args:
        weights: what is tried.

    Raises:
        ValueError: for a negative weight, or none; before calibration, where fewer than two samples have pictures.
    """

    holds_out = True

    def __init__(self, weights: tuple[float, ...] = (0.0, 0.03, 0.1, 0.3, 1.0)) -> None:
        if not weights or not all(math.isfinite(weight) and weight >= 0 for weight in weights):
            raise ValueError(f"weights: expected numbers of at least 0, got {list(weights)}")
        self.weights = tuple(weights)

    def weigh(self, block: ObservedBlock) -> Mapping[str, tuple[float, ...]]:
        drift = block.statistics.text_drift, block.statistics.mean_drift

        def worst(weight: float) -> float:
            return max(turned * lost for turned, lost in zip(drift, block.held_out(weight), strict=True))

        best = min(sorted(self.weights), key=worst)
        return dict.fromkeys(block.targets, (1.0, best))
