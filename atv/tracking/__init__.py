"""Experiment tracking: finished ablations in W&B, CSV files or TensorBoard, and the W&B dashboard over them.

Nothing is measured here: entries are made of what finished cells left on disk.
"""
