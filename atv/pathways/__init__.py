"""Decoupled pathways: one masked weight a modality, every token routed to its own."""

from atv.pathways.linear import DecoupledLinear
from atv.pathways.routing import route

__all__ = ["DecoupledLinear", "route"]
