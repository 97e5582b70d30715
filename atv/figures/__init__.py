"""Matplotlib figures: functions that turn data into figures and do not depend on models or runs."""

from atv.figures.channel_norms import norms_by_channel
from atv.figures.mask_overlap import by_block_and_linear, overlap_heatmap
from atv.figures.tokens import token_overlay

__all__ = ["by_block_and_linear", "norms_by_channel", "overlap_heatmap", "token_overlay"]
