"""Sparse fine-tuning: kept weights are trained, zeros stay zero; masks are read here, never made."""
