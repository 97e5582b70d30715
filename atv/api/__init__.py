"""The complete Python interface: one function for each thing that atv does to a model.

Nothing here parses a command line or prints, and no rule is implemented here.
"""

from atv.api.evaluating import compare, evaluate, questions
from atv.api.model_files import load, save
from atv.api.pruning import Pathway, decouple, prune
from atv.api.pruning_to_folder import prune_to_folder
from atv.data.calibration_batches import calibration_batches
from atv.evaluation.benchmarks.as_calibration import BenchmarkAnswers, BenchmarkQuestions
from atv.evaluation.speed import measure
from atv.finetuning.folder_run import finetune
from atv.finetuning.settings import Settings as FinetuningSettings
from atv.output.pruned_folder import renew_card
from atv.publishing.applying import apply_masks
from atv.publishing.difference import diff_masks
from atv.publishing.packed_masks import pack_masks
from atv.quantization.quantization_run import quantize
from atv.verification.folder import verify

__all__ = [
    "BenchmarkAnswers",
    "BenchmarkQuestions",
    "FinetuningSettings",
    "Pathway",
    "apply_masks",
    "calibration_batches",
    "compare",
    "decouple",
    "diff_masks",
    "evaluate",
    "finetune",
    "load",
    "measure",
    "pack_masks",
    "prune",
    "prune_to_folder",
    "quantize",
    "questions",
    "renew_card",
    "save",
    "verify",
]
