"""What Python calls, whole: one function for each thing that atv does to a model.

Nothing here parses a command line or prints, and no rule is implemented here.
"""

from atv.api.pruning import Pathway, decouple, prune

__all__ = ["Pathway", "decouple", "prune"]
