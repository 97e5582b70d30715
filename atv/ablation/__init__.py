"""Ablations: cells of a grid, run once each, and the tables, figures and findings made of them.

The page over all ablations is in ``atv.reporting``, loggers in ``atv.tracking``.
"""
