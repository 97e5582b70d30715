"""Compares models' answers to the same questions, question by question: what differs, and with what certainty.

The package reads what others wrote (evaluations, cells, other engines' answers) and asks nothing itself; grids of cells
and the claims about them are in ``atv.ablation``.
"""
