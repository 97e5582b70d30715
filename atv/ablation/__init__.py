"""Ablations: cells of a grid, run once each, and the tables, figures and W&B runs made of them."""
