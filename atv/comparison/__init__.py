"""Two or more models' answers to the same questions, compared question by question: what differs, and how surely.

Reads what others wrote (evaluations, cells, other engines' answers) and asks nothing itself; grids of cells and what
is claimed of them are in ``atv.ablation``.
"""
