"""Calibration: suspended forwards, the prediction loop that drives them, and the callbacks that gather and prune.

Rules (selection, criteria, patterns, allocation) live in their own packages; samples come from ``atv.data``.
"""
