"""Figures made of numbers: functions from data to a matplotlib figure that know nothing of models or runs."""

from atv.figures.overlap import by_block_and_linear, overlap_heatmap

__all__ = ["by_block_and_linear", "overlap_heatmap"]
