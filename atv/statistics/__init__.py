"""Uncertainty of numbers: intervals, paired differences, p-values and their corrections, computed from plain arrays.

There are two engines for two purposes. ``estimates`` (``atv ablate``, ``atv evaluate``, ``atv power``) uses Student's t
over crossed questions and seeds, for methods that are judged by a few seeds: three seeds are too few to resample, and
only variances tell what more questions or seeds would bring. ``paired_scores`` (``atv compare``) takes two given
models, mostly with one seed each: it resamples clusters of questions and swaps the two models' answers, which assumes
no distribution and is exact if few answers differ.

Knows no models, questions or files: ``atv.evaluation`` defines scores, and ``atv.ablation`` defines verdicts.
"""
