"""One process of the memory benchmark: python -m experiments.cost.memory_run MODEL OUTPUT disk|whole SHAPE"""

import json
import sys
from pathlib import Path
from time import perf_counter

import torch
from transformers import AutoModelForImageTextToText

import atv
from atv.model.batch import cast_floats
from atv.model.block_shards import finish_folder
from atv.model.lvlm import LVLM
from atv.model.offload import load_offloaded
from atv.runtime.trainer import quiet_trainer
from experiments.cost.workload import Shape, random_batches


def status(field: str) -> int:
    """Bytes from /proc/self/status: VmRSS is what the process holds now, VmHWM the most that it ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main(model: str, output: str, how: str, shape: str) -> None:
    """Prunes the model and prints its peak as JSON."""
    imported, started = status("VmRSS"), perf_counter()
    folder, cpu = Path(output), torch.device("cpu")
    batches = cast_floats(random_batches(Shape(**json.loads(shape))), torch.bfloat16)
    if how == "disk":
        lvlm = load_offloaded(Path(model), "disk", cpu, folder / ".offload")
    else:
        lvlm = AutoModelForImageTextToText.from_pretrained(model, dtype="auto").eval()
    trainer = quiet_trainer(accelerator="cpu", enable_progress_bar=False)
    report = atv.prune(lvlm, batches, trainer=trainer, run_dir=folder)
    if how == "disk":
        finish_folder(LVLM.of(lvlm), folder)
    figures = {
        "peak bytes": status("VmHWM") - imported,
        "seconds": perf_counter() - started,
        "waiting bytes per token": report.waiting_bytes_per_token,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
