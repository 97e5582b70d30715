"""The token selection rule of ATV-Pruning."""

from typing import Literal

from torch import Tensor

from atv.selection.base import Tokens, token_drift
from atv.selection.ranking import VisualRanking


class DriftTopK(VisualRanking):
    """All text tokens, and the visual tokens that the block moves most (ATV-Pruning, steps 2 to 5).

    The score of a visual token v is its drift, s_v = 1 - cos(X_in[v], X_out[v]).

    Args:
        alpha, share, cap, rounding: the budget, see ``VisualRanking``; the defaults are those of the authors' code.
        drift_dtype: dtype of the cosine. "model" uses the model's dtype, as the authors' code does; in bf16 a cosine
            near 1 has steps of 0.0039, so the ranking then consists mostly of ties.
    """

    def __init__(
        self,
        alpha: float | None = None,
        share: float | None = None,
        cap: bool = True,
        rounding: Literal["round", "floor"] = "round",
        drift_dtype: Literal["float32", "model"] = "float32",
    ) -> None:
        super().__init__(alpha, share, cap, rounding)
        if drift_dtype not in ("float32", "model"):
            raise ValueError(f"drift_dtype: expected 'float32' or 'model', got {drift_dtype!r}")
        self.drift_dtype = drift_dtype

    def rank(self, tokens: Tokens) -> Tensor:
        if self.drift_dtype == "model":
            return token_drift(tokens.input, tokens.output, tokens.input.dtype)
        return tokens.drift
