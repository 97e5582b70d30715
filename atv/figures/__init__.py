"""Figures made of numbers: functions from data to a matplotlib figure that know nothing of models or runs."""

from atv.figures.norms_and_overlap import by_block_and_linear, norms_by_channel, overlap_heatmap
from atv.figures.tokens import token_overlay

__all__ = ["by_block_and_linear", "norms_by_channel", "overlap_heatmap", "token_overlay"]
