"""Data as the processor wants it."""
