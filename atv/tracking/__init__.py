"""Experiment tracking: logs finished ablations to W&B, CSV files or TensorBoard, and builds the W&B dashboard.

Nothing is measured here: entries are made from the files of finished cells.
"""
