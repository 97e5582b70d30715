"""Sparse fine-tuning: kept weights are trained and zeros stay zero; masks are only read here, never created."""
