"""How surely a number is known: intervals, paired differences, p-values and their corrections, from plain arrays.

Knows no model, question or file; what a score is stands in ``atv.evaluation``, what a verdict says in ``atv.ablation``.
"""
