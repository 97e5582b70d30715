"""Experiment tracking: finished ablations in W&B, CSV files or TensorBoard, and the W&B dashboard over them."""
