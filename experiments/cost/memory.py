"""``make bench-memory``: peak memory of pruning a model of 2 B parameters, its blocks on disk against whole.

python -m experiments.cost.memory --output docs/cost
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import torch
from jsonargparse import auto_cli
from safetensors.torch import save_file
from transformers import LlavaForConditionalGeneration

from atv.model.lvlm import LVLM
from atv.records.files import writable, write_json
from atv.records.markdown import markdown as table
from atv.records.masks import load_masks
from atv.records.provenance import provenance
from experiments.cost import memory_run
from experiments.cost.workload import Shape, llava_config

LARGE = Shape(hidden=2560, ffn=6912, blocks=26, samples=4, visual=36, text=28)


def measure(output: Path = Path("docs/cost"), shape: Shape = LARGE) -> None:
    """Write a random LLaVA in bfloat16, prune it in two processes, and write a page with their peaks.

    Args:
        output: Folder for the page and its numbers.
        shape: Of the model and its calibration samples.
    """
    writable(output, "output")
    with tempfile.TemporaryDirectory(prefix="atv-memory-") as name:
        folder = Path(name)
        parameters = _write_random(folder / "model", shape)
        runs = {how: _run(folder, how, shape) for how in ("disk", "whole")}
        same = _same_masks(folder / "disk", folder / "whole")
    size = 2 * parameters
    facts: dict[str, Any] = {
        "parameters": parameters,
        "model bytes": size,
        "shape": str(shape),
        "same masks": same,
        "runs": {how: {**run, "share of the model": run["peak bytes"] / size} for how, run in runs.items()},
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    } | provenance()
    stem = f"{date.today().isoformat()}-memory"
    write_json(output / f"{stem}.json", facts)
    page = output / f"{stem}.md"
    page.write_text(_page(facts))
    print(page.read_text())


def _write_random(folder: Path, shape: Shape) -> int:
    """A checkpoint of random weights, written shard by shard; returns the number of parameters."""
    config = llava_config(shape)
    with torch.device("meta"):
        skeleton = LlavaForConditionalGeneration(config)
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    shards: dict[str, dict[str, torch.Size]] = {}
    for name, value in skeleton.state_dict().items():
        before, inside, after = name.partition(f"{LVLM.of(skeleton).blocks_name}.")
        shards.setdefault(after.split(".")[0] if inside else before, {})[name] = value.shape
    places: dict[str, str] = {}
    for number, shapes in enumerate(shards.values()):
        file = f"model-{number:05d}.safetensors"
        weights = {
            name: torch.randn(shape, generator=generator, dtype=torch.bfloat16) * 0.02 for name, shape in shapes.items()
        }
        save_file(weights, folder / file, {"format": "pt"})
        places |= dict.fromkeys(weights, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    config.architectures, config.dtype = ["LlavaForConditionalGeneration"], "bfloat16"
    config.save_pretrained(folder)
    return sum(parameter.numel() for parameter in skeleton.parameters())


def _run(folder: Path, how: str, shape: Shape) -> dict[str, Any]:
    arguments = [str(folder / "model"), str(folder / how), how, json.dumps(asdict(shape))]
    command = [sys.executable, "-m", memory_run.__name__, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _same_masks(one: Path, other: Path) -> bool:
    first, second = (load_masks(folder / "masks.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _page(facts: dict[str, Any]) -> str:
    rows = [
        [how, f"{run['peak bytes'] / 1e9:.2f}", f"{run['share of the model']:.0%}"]
        + [f"{run[number]:.0f}" for number in ("waiting bytes per token", "seconds")]
        for how, run in facts["runs"].items()
    ]
    lines = [
        f"# Peak memory, {date.today().isoformat()}",
        "",
        f"Random LLaVA of {facts['parameters'] / 1e9:.2f} B parameters in bfloat16 "
        f"({facts['model bytes'] / 1e9:.2f} GB): {facts['shape']}. ATV at 50%.",
        f"{facts['hardware']}, {facts['memory']}, revision {facts['git']}.",
        "Peak is VmHWM, mapped pages included, less the process after its imports.",
        "",
        table(["blocks", "peak GB", "share of the model", "bytes a waiting token", "seconds"], rows),
    ]
    return "\n".join([*lines, "", f"Same masks: {'yes' if facts['same masks'] else 'NO'}.", ""])


if __name__ == "__main__":
    auto_cli(measure, as_positional=False)
