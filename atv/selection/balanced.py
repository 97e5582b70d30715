"""A rule that sets the weight of visual tokens automatically in each block."""

import math
from collections.abc import Mapping

from atv.selection.parts import ObservedBlock, PartedSelection


class BalancedPools(PartedSelection):
    """Text and visual tokens, with a weight of visual tokens that each block chooses by held-out error.

    With weight b, the Gram matrix is X^T X of text / n_text + b times X^T X of visual tokens / n_visual. For each
    candidate b, one half of the samples gives Wanda's mask. The other half shows which share of its squared outputs a
    Linear then loses on text and on visual tokens, e_text and e_visual (computed from norms, as if channels were
    uncorrelated). The rule chooses the b with the smallest max(d_text e_text, d_visual e_visual), and in a tie the
    smallest b. Here d is the mean drift of a modality: a block can lose little on tokens that it hardly changes. The
    rule needs no more passes than other rules.

    Args:
        weights: candidates for the weight b of visual tokens.

    Raises:
        ValueError: if ``weights`` is empty or has a negative entry; before calibration, if fewer than two samples have
            pictures.
    """

    holds_out = True

    def __init__(self, weights: tuple[float, ...] = (0.0, 0.03, 0.1, 0.3, 1.0)) -> None:
        if not weights or not all(math.isfinite(weight) and weight >= 0 for weight in weights):
            raise ValueError(f"weights: expected numbers of at least 0, got {list(weights)}")
        self.weights = tuple(weights)

    def weigh(self, block: ObservedBlock) -> Mapping[str, tuple[float, ...]]:
        drift = block.statistics.text_drift, block.statistics.mean_drift

        def worst_loss(weight: float) -> float:
            return max(mean_drift * lost for mean_drift, lost in zip(drift, block.held_out(weight), strict=True))

        best_weight = min(sorted(self.weights), key=worst_loss)
        return dict.fromkeys(block.targets, (1.0, best_weight))
