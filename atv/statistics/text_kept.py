"""How much of a text's probability a pruned model keeps, from what windows of the text cost."""

import numpy as np
from numpy.typing import ArrayLike

from atv.statistics.estimates import TaskPart


def text_kept(dense: ArrayLike, pruned: ArrayLike, tokens: ArrayLike, texts: ArrayLike) -> TaskPart:
    """100 * the dense model's perplexity / the pruned one's, in %: what is left of the probability of a token.

    Windows count as drawn from their texts, of which there are always as many; the ratio is made linear in them.

    Args:
        dense: negative log-likelihoods (windows,) in nats.
        pruned: the same by seed (seeds, windows).
        tokens: how many each window predicts (windows,).
        texts: the text of each window (windows,), by any labels.
    """
    gaps, count = np.asarray(dense, np.float64) - np.asarray(pruned, np.float64), np.asarray(tokens, np.float64)
    rate = gaps.sum(-1, keepdims=True) / count.sum()
    kept = 100 * np.exp(rate)
    strata = np.unique(np.asarray(texts), return_inverse=True)[1]
    return TaskPart(kept[..., 0], kept * (gaps - rate * count) / count.sum(), strata)
