"""Files that are written and read again: masks, digests, a run's folder and report, and what produced a number.

What a format means to a reader of the finished folder is in ``atv.output``; what must hold of it in
``atv.verification``.
"""
