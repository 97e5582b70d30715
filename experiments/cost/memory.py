"""``make bench-memory``: peak memory of pruning a model of 2 B parameters, with its blocks on disk or loaded whole.

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
from transformers import AutoModelForImageTextToText

from atv.records.files import writable, write_json
from atv.records.masks import load_masks
from atv.records.page_parts import markdown as table
from atv.records.provenance import provenance
from experiments.cost import memory_run
from experiments.cost.workload import Shape, llava_config

LARGE = Shape(hidden=2560, ffn=6912, blocks=26, samples=4, visual=36, text=28)


def measure(output: Path = Path("docs/cost"), shape: Shape = LARGE) -> None:
    """Save a random LLaVA in bfloat16, prune it in two processes, and write a page with their peak memory.

    Args:
        output: Folder for the page and its numbers.
        shape: Shape of the model and its calibration samples.
    """
    writable(output, "output")
    with tempfile.TemporaryDirectory(prefix="atv-memory-") as name:
        folder = Path(name)
        parameters = _write_random(folder / "model", shape)
        runs = {mode: _run(folder, mode, shape) for mode in ("disk", "whole")}
        same_masks = _same_masks(folder / "disk", folder / "whole")
    size = 2 * parameters
    facts: dict[str, Any] = {
        "parameters": parameters,
        "model bytes": size,
        "shape": str(shape),
        "same masks": same_masks,
        "runs": {mode: {**run, "share of the model": run["peak bytes"] / size} for mode, run in runs.items()},
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    } | provenance()
    stem = f"{date.today().isoformat()}-memory"
    write_json(output / f"{stem}.json", facts)
    page = output / f"{stem}.md"
    page.write_text(_page(facts))
    print(page.read_text())


def _write_random(folder: Path, shape: Shape) -> int:
    """Saves a sharded checkpoint of random weights, as large models have, and returns the number of parameters."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(llava_config(shape), dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="500MB")
    return model.num_parameters()


def _run(folder: Path, mode: str, shape: Shape) -> dict[str, Any]:
    arguments = [str(folder / "model"), str(folder / mode), mode, json.dumps(asdict(shape))]
    command = [sys.executable, "-m", memory_run.__name__, *arguments]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(process.stdout.splitlines()[-1])


def _same_masks(folder_a: Path, folder_b: Path) -> bool:
    masks_a, masks_b = (load_masks(folder / "masks.safetensors") for folder in (folder_a, folder_b))
    return masks_a.keys() == masks_b.keys() and all(torch.equal(masks_a[name], masks_b[name]) for name in masks_a)


def _page(facts: dict[str, Any]) -> str:
    rows = [
        [mode, f"{run['peak bytes'] / 1e9:.2f}", f"{run['share of the model']:.0%}"]
        + [f"{run[key]:.0f}" for key in ("waiting bytes per token", "seconds")]
        for mode, run in facts["runs"].items()
    ]
    lines = [
        f"# Peak memory, {date.today().isoformat()}",
        "",
        f"Random LLaVA of {facts['parameters'] / 1e9:.2f} B parameters in bfloat16 "
        f"({facts['model bytes'] / 1e9:.2f} GB): {facts['shape']}. ATV at 50%.",
        f"{facts['hardware']}, {facts['memory']}, revision {facts['git']}.",
        "Peak is VmHWM, including mapped pages, minus the process's memory after its imports.",
        "",
        table(["blocks", "peak GB", "share of the model", "bytes per waiting token", "seconds"], rows),
    ]
    return "\n".join([*lines, "", f"Same masks: {'yes' if facts['same masks'] else 'NO'}.", ""])


if __name__ == "__main__":
    auto_cli(measure, as_positional=False)
