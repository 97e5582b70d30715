"""The nine benchmarks of the paper, one short file each; plug-ins can add more."""

from atv.evaluation.benchmarks.base import Benchmark, Question
from atv.evaluation.benchmarks.gqa import GQA
from atv.evaluation.benchmarks.mmbench import MMBench
from atv.evaluation.benchmarks.mme import MME
from atv.evaluation.benchmarks.mmmu import MMMU
from atv.evaluation.benchmarks.ok_vqa import OKVQA
from atv.evaluation.benchmarks.pope import POPE
from atv.evaluation.benchmarks.scienceqa import ScienceQA
from atv.evaluation.benchmarks.textvqa import TextVQA
from atv.evaluation.benchmarks.vizwiz import VizWiz

# In the order of the paper's tables.
NINE = (OKVQA, VizWiz, TextVQA, GQA, POPE, ScienceQA, MMBench, MME, MMMU)

__all__ = [
    "GQA",
    "MME",
    "MMMU",
    "NINE",
    "OKVQA",
    "POPE",
    "Benchmark",
    "MMBench",
    "Question",
    "ScienceQA",
    "TextVQA",
    "VizWiz",
]
