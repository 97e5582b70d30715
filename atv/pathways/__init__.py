"""Decoupled pathways: one masked weight a modality, every token routed to its own; masks are made in calibration."""

from atv.pathways.decoupled import DecoupledExperts, DecoupledLinear, decouple_target, route

__all__ = ["DecoupledExperts", "DecoupledLinear", "decouple_target", "route"]
