"""Rule-of-thumb estimates of what a grid costs; nothing here is measured on the machine at hand."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import safe_open

from atv.bundled import BUNDLED
from atv.everyday.assembly.made_folder import EVERYDAY
from atv.model.loading import model_folder

# The paper's seconds for LLaVA-NeXT 8B, 128 samples, on a GPU that it does not name; DAS's own pass is not counted.
PAPER_SECONDS = {"wanda": 73.7, "sparsegpt": 666.0, "amia": 1418.4, "atv": 99.6, "tamp": 1418.4}
# Operations per second of a model's matrix products: on a data-centre GPU in 16 bits, and on one CPU core.
GPU_RATE, CORE_RATE = 1e14, 5e10
# Seconds to read and encode a question's picture and to generate the few words of its answer.
OVERHEAD = 0.1
# Tokens of a ShareGPT4V caption and of a question.
CAPTION, PROMPT = 250, 60
# Number of questions, and how many of them form a group that ``limit`` counts as one.
QUESTIONS = {
    "OKVQA": (5046, 1),
    "VizWiz": (4319, 1),
    "TextVQA": (5000, 1),
    "GQA": (12578, 1),
    "POPE": (9000, 1),
    "ScienceQA": (2017, 1),
    "MMBench": (4329, 4),
    "MME": (2374, 2),
    "MMMU": (900, 1),
}


@dataclass(frozen=True)
class Size:
    """A model's number of parameters, and of visual tokens for a picture of 640 x 480."""

    parameters: float
    visual: int


SIZES = {
    "llava-hf/llama3-llava-next-8b-hf": Size(8.36e9, 2340),
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": Size(8.03e9, 2960),
    "Qwen/Qwen2-VL-7B-Instruct": Size(8.29e9, 390),
    "Qwen/Qwen2.5-VL-7B-Instruct": Size(8.29e9, 390),
    "Qwen/Qwen3-VL-8B-Instruct": Size(8.77e9, 300),
    "OpenGVLab/InternVL3_5-8B-HF": Size(8.53e9, 3328),
    "google/gemma-3-12b-it": Size(12.2e9, 256),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": Size(2.25e9, 1053),
    "nvidia/Cosmos3-Edge": Size(2.43e9, 300),
}
_BASIS = SIZES["llava-hf/llama3-llava-next-8b-hf"]


def size_of(model: str) -> Size | None:
    """A model's size: known, or read from its folder (then assuming 1,000 visual tokens); None for other ids."""
    name = model.split("@")[0]
    if name in SIZES:
        return SIZES[name]
    if model not in (BUNDLED, EVERYDAY) and not Path(model).is_dir():
        return None
    return Size(sum(map(_parameters, model_folder(model).glob("*.safetensors"))), 1000)


def _parameters(file: Path) -> int:
    with safe_open(file, "pt") as tensors:
        return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118


def rate(gpus: int) -> float:
    """Operations per second of one process: on a GPU, or on all CPU cores if there is none."""
    return GPU_RATE if gpus else CORE_RATE * (os.cpu_count() or 1)


def pruning_hours(size: Size, method: str, samples: int, rate: float) -> float:
    """Hours of pruning: the paper's seconds, scaled by parameters, tokens and samples."""
    work = size.parameters * (size.visual + CAPTION) * samples
    basis = _BASIS.parameters * (_BASIS.visual + CAPTION) * 128
    return PAPER_SECONDS[method] * work / basis * GPU_RATE / rate / 3600


def evaluation_hours(size: Size, benchmarks: Sequence[str], limit: int | None, rate: float) -> float:
    """Hours of evaluation: two operations per parameter and prompt token, plus the overhead of each question."""
    seconds = OVERHEAD + 2 * size.parameters * (size.visual + PROMPT) / rate
    return questions(benchmarks, limit) * seconds / 3600


def questions(benchmarks: Sequence[str], limit: int | None) -> int:
    """Number of questions asked; ``limit`` counts a question with its rotations, or a pair, as one."""
    counts = (QUESTIONS[name] for name in benchmarks)
    return sum(count if limit is None else min(count, limit * group) for count, group in counts)


def disk_bytes(size: Size, runs: int, kept: bool, processes: int) -> float:
    """Peak disk use: the download in 16 bits, masks of one bit per weight, and the weights of runs on disk together.

    A run in progress may hold its weights twice (finished blocks of SparseGPT).
    """
    concurrent_runs = min(runs, processes)
    whole_models = runs if kept else concurrent_runs
    return size.parameters * (2 + runs / 8 + 2 * whole_models + 2 * concurrent_runs)
