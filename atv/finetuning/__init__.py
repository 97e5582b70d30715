"""Sparse fine-tuning: kept weights are trained, zeros stay zero."""
