"""Calibration: suspended forwards, the prediction loop over them, and what its callbacks gather and prune.

Rules (selection, criteria, patterns, allocation) are in their own rooms, samples come from ``atv.data``.
"""
