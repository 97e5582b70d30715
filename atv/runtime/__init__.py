"""What a process needs whatever it does: a trainer, its ranks, a scheduler's stop, timings, the network.

Nothing here knows of models, data or pruning.
"""
