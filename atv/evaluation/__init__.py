"""Asks questions, decodes answers greedily, computes scores and retention; does not know what was pruned, or how."""
