"""Tokens weighed by how much their block feels them."""

from torch import Tensor

from atv.selection.base import Tokens, TokenSelection


class TokenSensitivity(TokenSelection):
    """Every token, by how much the block's output moves with what a Linear makes of it: G = X^T diag(g) X.

    One g a token and Linear, from one backward pass through the block, as VLMQ weighs tokens for quantization (arXiv
    2508.03351); of the paper we know no more than that, so how g is measured is ours (``Tokens.sensitivity``). An error
    of the Linear's output on token t is then counted by what becomes of it at the block's output: a visual token whose
    key and value few others read weighs little there. Behind the FFN's last Linear all tokens weigh the same.
    """

    needs_sensitivity = True
    per_linear = True
    average = "tokens"

    def select(self, tokens: Tokens) -> Tensor:
        return tokens.sensitivity
