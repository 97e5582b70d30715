"""How surely a number is known: intervals, paired differences, p-values and their corrections, from plain arrays.

There are two engines, for two questions. ``estimates`` (``atv ablate``, ``atv evaluate``, ``atv power``) is Student's t
over crossed questions and seeds, for methods that are judged by a few seeds: three resample badly, and only variances
tell what more questions or seeds would bring. ``paired_scores`` (``atv compare``) takes two given models, mostly of one
seed each: it resamples clusters of questions and swaps the two's answers, which supposes no distribution and is exact
where few answers differ.

Knows no model, question or file; what a score is stands in ``atv.evaluation``, what a verdict says in ``atv.ablation``.
"""
