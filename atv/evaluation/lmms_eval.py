"""The command by which lmms-eval, which this package's scores follow, scores a model's folder."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from atv.evaluation.benchmarks import Benchmark
from atv.evaluation.picture_bounds import PIXEL_BOUNDS

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
    if kind in PIXEL_BOUNDS:
        least, most = PIXEL_BOUNDS[kind]
        arguments += [f"min_pixels={least}", f"max_pixels={most}"]
    command = ["accelerate", "launch", f"--num_processes={ranks}", "-m", "lmms_eval"]
    command += ["--model", runner, "--model_args", ",".join(arguments)]
    command += ["--tasks", ",".join(each.lmms_eval for each in benchmarks), "--batch_size", "1"]
    return shlex.join([*command, "--log_samples", "--output_path", "results/lmms-eval"])
