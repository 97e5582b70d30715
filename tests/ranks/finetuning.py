"""What one rank of a fine-tuning test runs: python finetuning.py RANKS STRATEGY LEARNS|is-preempted FOLDER"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
from helpers.tiny import random_llava
from helpers.tuning import SETTINGS, answers, pruned, unlabelled
from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors.torch import save_file

from atv.finetuning.fit_trainer import training_trainer
from atv.finetuning.objectives import AnswerLoss, DistillationLoss
from atv.finetuning.training_run import fit, prepare
from atv.model.lvlm import LVLM


class Stopped(AnswerLoss):
    """Sends the second rank SIGTERM in its third batch."""

    def __init__(self, trainer):
        self.trainer = trainer

    def loss(self, model, batch):
        if self.trainer.global_rank == 1 and self.trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().loss(model, batch)


def main(ranks, strategy, learns, folder):
    """Four steps of two batches each, whatever the number of ranks; each rank leaves its own trained weights.

    A projector that is trained beside has a part in every other batch.
    """
    lvlm, settings, textual = LVLM.of(random_llava()), SETTINGS, ()
    if learns == "answers, projector beside":
        settings, textual = replace(SETTINGS, train_also=("*multi_modal_projector*",)), (1, 3, 5, 7)
    prepare(lvlm, pruned(lvlm), settings)
    options = {"accelerator": "cpu", "devices": ranks, "strategy": strategy, "enable_progress_bar": False}
    trainer = training_trainer(folder, 2, None, options | {"accumulate_grad_batches": 2 // ranks})
    batches, objective = answers(8, textual), AnswerLoss()
    if learns == "dense outputs":
        batches, objective = unlabelled(batches), DistillationLoss(LVLM.of(random_llava()))
    if learns == "is-preempted":
        try:
            fit(lvlm, Stopped(trainer), settings, batches, None, trainer, folder / "none")
        except SIGTERMException:
            (folder / f"stopped-{trainer.global_rank}").write_text(str(trainer.global_step))
        return
    outcome = fit(lvlm, objective, settings, batches, batches[:2], trainer, folder / "none")
    # Under FSDP the first rank gathers the shards of all.
    if strategy != "fsdp" or trainer.is_global_zero:
        save_file(
            {name: value.contiguous() for name, value in outcome.weights.items()}, folder / f"{trainer.global_rank}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
