"""How much of a text's probability a pruned model keeps, from the loss on windows of the text."""

import numpy as np
from numpy.typing import ArrayLike

from atv.statistics.estimates import TaskPart


def text_kept(dense: ArrayLike, pruned: ArrayLike, tokens: ArrayLike, texts: ArrayLike) -> TaskPart:
    """Returns 100 * the dense model's perplexity / the pruned model's, in %: the share of a token's probability left.

    Windows count as drawn from their texts, which are fixed strata; the ratio is linearized in the windows.

    Args:
        dense: negative log-likelihoods (windows,) in nats.
        pruned: the same for each seed (seeds, windows).
        tokens: number of tokens that each window predicts (windows,).
        texts: any label of each window's text (windows,).
    """
    loss_gaps, token_counts = (
        np.asarray(dense, np.float64) - np.asarray(pruned, np.float64),
        np.asarray(tokens, np.float64),
    )
    mean_gap = loss_gaps.sum(-1, keepdims=True) / token_counts.sum()
    percent_kept = 100 * np.exp(mean_gap)
    strata = np.unique(np.asarray(texts), return_inverse=True)[1]
    return TaskPart(
        percent_kept[..., 0], percent_kept * (loss_gaps - mean_gap * token_counts) / token_counts.sum(), strata
    )
