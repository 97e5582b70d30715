"""Calibration: suspended forwards, the prediction loop over them, and what its callbacks gather."""
