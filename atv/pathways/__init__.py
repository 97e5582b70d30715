"""Decoupled pathways: one masked weight a modality, every token routed to its own; masks are made in calibration."""

from atv.pathways.decoupled_experts import DecoupledExperts, decouple_target
from atv.pathways.linear import DecoupledLinear
from atv.pathways.routing import route

__all__ = ["DecoupledExperts", "DecoupledLinear", "decouple_target", "route"]
