"""Decoupled pathways: one masked weight per modality, each token routed to its own; calibration makes the masks."""

from atv.pathways.decoupled import DecoupledExperts, DecoupledLinear, decouple_target, route

__all__ = ["DecoupledExperts", "DecoupledLinear", "decouple_target", "route"]
