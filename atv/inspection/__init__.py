"""What calibration and pruning do to one picture, as numbers; the figures made of them are in ``atv.figures``."""

from atv.inspection.sample_run import Inspection, inspect_sample, linear_of_blocks, modality_overlap
from atv.inspection.subject import Subject, drawn_row, own_row

__all__ = ["Inspection", "Subject", "drawn_row", "inspect_sample", "linear_of_blocks", "modality_overlap", "own_row"]
