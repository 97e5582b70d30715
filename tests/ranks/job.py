"""What one rank of the tests runs: python job.py RANKS FOLDER [RANK fails|is-preempted|fails-at-last]"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from datasets import Dataset
from helpers.moe import moe_llava
from helpers.tiny import make_batch, random_llava
from PIL import Image

import atv
from atv.bundled import BUNDLED_MODEL
from atv.evaluation.benchmark_run import ask_benchmark
from atv.evaluation.benchmarks.loaded import load_benchmark
from atv.evaluation.generation import answer
from atv.evaluation.questions import question_batches
from atv.model.loading import load_model
from atv.model.offload import load_offloaded
from atv.records.masks import save_masks
from atv.runtime.trainer import quiet_trainer


class Stops(atv.TextOnly):
    """Raises, or is sent SIGTERM, in block 1 on one rank."""

    trainer = None

    def __init__(self, rank, how):
        self.rank, self.how = rank, how

    def select(self, tokens):
        if tokens.block == 1 and Stops.trainer.global_rank == self.rank:
            if self.how != "is-preempted":
                raise ValueError(f"rank {self.rank} cannot go on")
            os.kill(os.getpid(), signal.SIGTERM)
        return super().select(tokens)


def main(ranks, folder, rank=None, how=None):
    trainer = quiet_trainer(accelerator="cpu", devices=int(ranks), enable_progress_bar=False)
    many = [make_batch([5, 8], 1), make_batch([6], 2), make_batch([12, 4], 3), make_batch([5], 4, images=False)]
    labelled = [batch | {"labels": batch["input_ids"].masked_fill(batch["input_ids"] < 10, -100)} for batch in many]
    if how in ("fails", "is-preempted"):
        stopped(many, trainer, folder, int(rank), how)
    runs = {
        "uneven": lambda model: atv.prune(model, many, trainer=trainer).masks,
        "one batch": lambda model: atv.prune(model, many[:1], pattern="2:4", trainer=trainer).masks,
        "one-shot": lambda model: atv.prune(model, many, propagate=False, trainer=trainer).masks,
        "resumed": lambda model: atv.prune(model, many, trainer=trainer, run_dir=Path(folder) / "run").masks,
        "streamed": lambda _: streamed(many, trainer, Path(folder)),
        "visual": lambda model: decoupled(model, many, trainer),
        "experts": lambda _: atv.prune(moe_llava("qwen3_moe"), many, trainer=trainer).masks,
        "experts of one batch": lambda _: atv.prune(moe_llava("qwen3_moe"), many[:1], trainer=trainer).masks,
        "measured": lambda model: atv.prune(model, many, selection="AMIA", allocation="OWL", trainer=trainer).masks,
        "SparseGPT": lambda model: atv.prune(model, many, criterion="SparseGPT", trainer=trainer).masks,
        "balanced": lambda model: (
            atv.prune(model, many, selection="BalancedPools", refine=["DSnoT", "SparseSwaps"], trainer=trainer).masks
        ),
        "gradients": lambda model: atv.prune(model, labelled, selection="GradientRatio", trainer=trainer).masks,
        "trained": lambda model: (
            atv.prune(
                model,
                many,
                selection="TokenSensitivity",
                criterion="WandaPlusPlus",
                reconstruct=atv.BlockReconstruction(rate=1e-3),
                trainer=trainer,
            ).masks
        ),
        "refined": lambda model: (
            atv.prune(
                model,
                many,
                selection="WeightedPools",
                refine="SparseSwaps",
                reconstruct="LeastSquares",
                trainer=trainer,
            ).masks
        ),
    }
    for name, run in runs.items():
        masks = run(random_llava())
        if trainer.is_global_zero:
            save_masks(Path(folder) / f"{name}.safetensors", masks)
    answers = ask_bundled(trainer)
    scores = ask_benchmarks(trainer, Path(folder))
    if trainer.is_global_zero:
        answers.to_parquet(Path(folder) / "answers.parquet")
        (Path(folder) / "scores.json").write_text(json.dumps(scores))
    if how == "fails-at-last":
        stopped(many, trainer, folder, int(rank), how)


def stopped(batches, trainer, folder, rank, how):
    Stops.trainer = trainer
    atv.prune(random_llava(), batches, selection=Stops(rank, how), trainer=trainer, run_dir=Path(folder) / "stopped")


def decoupled(model, batches, trainer):
    text, visual = atv.Pathway("TextOnly", sparsity=0), atv.Pathway("VisualOnly")
    return atv.decouple(model, batches, text=text, visual=visual, trainer=trainer).pathways["visual"].masks


def streamed(batches, trainer, folder):
    """With the blocks on disk, one file for all ranks."""
    model = load_offloaded(folder / "dense", "disk", torch.device("cpu"), folder / "scratch")
    return atv.prune(model, batches, trainer=trainer, run_dir=folder / "streamed").masks


def ask_bundled(trainer):
    rows = [
        {"question_id": index, "group": index, "task": "relations", "metric": "ExactMatch", "category": ""}
        | {"image": Image.new("RGB", (54, 54), color), "question": f"is there a {color} thing ?"}
        | {"options": [], "answer": "no", "answers": ["no"]}
        for index, color in enumerate(("red", "green", "blue", "red", "blue"))
    ]
    model, processor = load_model(BUNDLED_MODEL)
    return answer(model, processor, question_batches(processor, Dataset.from_list(rows), batch_size=2), trainer=trainer)


def ask_benchmarks(trainer, folder):
    """What two benchmarks report of answers that the ranks shared out."""
    model, processor = load_model(BUNDLED_MODEL)
    scores = {}
    for name in ("POPE", "MME"):
        loaded = load_benchmark(name, folder / "data")
        done = ask_benchmark(loaded, model, processor, trainer, folder / name, batch_size=2, max_new_tokens=2)
        scores[name] = done.row()
    return scores


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
