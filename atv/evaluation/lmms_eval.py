"""As lmms-eval, which this package's scores follow: how large pictures are, and the command that scores a folder."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import ProcessorMixin

from atv.data.pixel_cap import cap_pixels
from atv.evaluation.benchmarks import Benchmark

# Least and most pixels by model type, as lmms-eval sets them. Its class for Qwen3-VL has others (200,704 and 1,605,632)
# and leaves pictures to qwen-vl-utils, whose limits these are: 4 and 16,384 tokens of 32 pixels a side.
PIXELS = {
    "qwen2_vl": (56 * 56, 602_112),
    "qwen2_5_vl": (256 * 28 * 28, 1_605_632),
    "qwen3_vl": (4 * 32 * 32, 16_384 * 32 * 32),
    "qwen3_vl_moe": (4 * 32 * 32, 16_384 * 32 * 32),
}
VERSION = "0.7.3"
# What lmms-eval calls the class that runs a model type. Its plain one, huggingface, loads models without the layer that
# writes words.
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


def pin_pixels(processor: ProcessorMixin, model_type: str) -> dict[str, int] | None:
    """Sets a processor's limits to those that published scores were made with; None where nothing is to be set."""
    if model_type not in PIXELS:
        return None
    least, most = PIXELS[model_type]
    limits: dict[str, Any] = {"shortest_edge": least, "longest_edge": most}
    processor.image_processor.size = limits
    return {"min_pixels": least, "max_pixels": most}


def bound_pixels(
    processor: ProcessorMixin, model_type: str, min_pixels: int | None, max_pixels: int | None
) -> Mapping[str, int | None] | None:
    """Sets a processor's limits to those given, or else to what published scores were made with; None for none."""
    if min_pixels is None and max_pixels is None:
        return pin_pixels(processor, model_type)
    cap_pixels(processor, min_pixels, max_pixels)
    return {"min_pixels": min_pixels, "max_pixels": max_pixels}


def lmms_eval_command(folder: Path, benchmarks: Sequence[Benchmark], ranks: int = 1) -> str:
    """The shell command for one process a GPU; lmms-eval needs one.

    Raises:
        ValueError: for a benchmark that lmms-eval does not have, or a model that it cannot run or takes for another.
    """
    if unknown := [each.name for each in benchmarks if not each.lmms_eval]:
        raise ValueError(f"benchmark: lmms-eval has no task for {', '.join(unknown)}")
    kind = json.loads((folder / "config.json").read_text()).get("model_type", "")
    if kind == "qwen3_vl_moe" and not re.search(r"A\d+B", str(folder)):
        raise ValueError(
            f"model: expected a path with A3B or the like (lmms-eval else loads a dense Qwen3-VL), got {folder}"
        )
    if kind not in _RUNNERS:
        raise ValueError(f"model: lmms-eval {VERSION} has no class that runs {kind!r}; choices: {', '.join(_RUNNERS)}")
    runner, arguments = _RUNNERS[kind], [f"pretrained={folder}"]
    if runner == "llava_hf" and ranks == 1:
        # Its default, an empty one, is refused by transformers in a single process.
        arguments.append("device_map=auto")
    if kind in PIXELS:
        least, most = PIXELS[kind]
        arguments += [f"min_pixels={least}", f"max_pixels={most}"]
    command = ["accelerate", "launch", f"--num_processes={ranks}", "-m", "lmms_eval"]
    command += ["--model", runner, "--model_args", ",".join(arguments)]
    command += ["--tasks", ",".join(each.lmms_eval for each in benchmarks), "--batch_size", "1"]
    return shlex.join([*command, "--log_samples", "--output_path", "results/lmms-eval"])
