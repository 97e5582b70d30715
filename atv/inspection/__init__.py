"""What calibration and pruning do to one picture, as numbers; ``atv.figures`` draws the figures."""

from atv.inspection.sample_run import Inspection, inspect_sample, linear_of_blocks, modality_overlap
from atv.inspection.subject import Shown, Subject, drawn_row
from atv.inspection.whole_inspection import Inspected, inspect_model

__all__ = [
    "Inspected",
    "Inspection",
    "Shown",
    "Subject",
    "drawn_row",
    "inspect_model",
    "inspect_sample",
    "linear_of_blocks",
    "modality_overlap",
]
