"""The command with which lmms-eval, whose scores this package follows, scores a model's folder."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from atv.evaluation.benchmarks import Benchmark
from atv.evaluation.picture_bounds import PIXEL_BOUNDS

VERSION = "0.7.3"
# Names in lmms-eval of the classes that run each model type. Its generic class, huggingface, loads models without the
# language-model head.
_RUNNERS = {
    "llava": "llava_hf",
    "llava_next": "llava_hf",
    "llava_onevision": "llava_hf",
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_5_vl",
    "qwen3_vl": "qwen3_vl",
    "qwen3_vl_moe": "qwen3_vl",
    "internvl": "internvl_hf",
    "gemma3": "gemma3",
}


def lmms_eval_command(folder: Path, benchmarks: Sequence[Benchmark], ranks: int = 1) -> str:
    """Returns the shell command, with one process per GPU; lmms-eval needs a GPU.

    Raises:
        ValueError: if lmms-eval lacks a benchmark, cannot run the model, or would mistake it for a different one.
    """
    if unsupported := [benchmark.name for benchmark in benchmarks if not benchmark.lmms_eval]:
        raise ValueError(f"benchmark: lmms-eval has no task for {', '.join(unsupported)}")
    model_type = json.loads((folder / "config.json").read_text()).get("model_type", "")
    if model_type == "qwen3_vl_moe" and not re.search(r"A\d+B", str(folder)):
        raise ValueError(
            f"model: expected a path with A3B or the like (otherwise lmms-eval loads a dense Qwen3-VL), got {folder}"
        )
    if model_type not in _RUNNERS:
        raise ValueError(
            f"model: lmms-eval {VERSION} has no class that runs {model_type!r}; choices: {', '.join(_RUNNERS)}"
        )
    runner, arguments = _RUNNERS[model_type], [f"pretrained={folder}"]
    if runner == "llava_hf" and ranks == 1:
        # In a single process, transformers rejects lmms-eval's default, which is empty.
        arguments.append("device_map=auto")
    if model_type in PIXEL_BOUNDS:
        min_pixels, max_pixels = PIXEL_BOUNDS[model_type]
        arguments += [f"min_pixels={min_pixels}", f"max_pixels={max_pixels}"]
    command = ["accelerate", "launch", f"--num_processes={ranks}", "-m", "lmms_eval"]
    command += ["--model", runner, "--model_args", ",".join(arguments)]
    command += ["--tasks", ",".join(benchmark.lmms_eval for benchmark in benchmarks), "--batch_size", "1"]
    return shlex.join([*command, "--log_samples", "--output_path", "results/lmms-eval"])
