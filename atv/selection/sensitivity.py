"""A rule that weights tokens by how sensitive their block is to them."""

from torch import Tensor

from atv.selection.base import Tokens, TokenSelection


class TokenSensitivity(TokenSelection):
    """All tokens, each weighted by how much the block's output depends on a Linear's output at it: G = X^T diag(g) X.

    There is one weight g per token and Linear, from one backward pass through the block. VLMQ (arXiv 2508.03351)
    weights tokens in this way for quantization. We know no more of the paper than that, so the definition of g is ours
    (``Tokens.sensitivity``). An error of the Linear's output at token t thus counts by its effect on the block's
    output: a visual token whose key and value few other tokens read has little weight. At the last Linear of the FFN,
    all tokens have the same weight.
    """

    needs_sensitivity = True
    per_linear = True
    average = "tokens"

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.sensitivity
