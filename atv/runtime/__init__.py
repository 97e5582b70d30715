"""Utilities for any process: Lightning trainers, ranks, preemption by a scheduler, timings, and the network.

Nothing here depends on models, data or pruning.
"""
