"""Second stage: the language model learns captions, answers and facts, on top of the trained tower."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import LlavaForConditionalGeneration

from atv.bundled.architecture import words
from atv.bundled.dialogues import Turn, caption, choice_turns, drill_turns, exchange, fact_turns, visual_turns
from atv.bundled.scenes import Scene, sample_scene
from atv.bundled.training.optimization import Schedule, descend, optimizers, split_parameters
from atv.bundled.training.packing import IGNORED, Encoded, PackedBatch, answer_loss, pack
from atv.bundled.training.vision import PATCHES_A_SIDE, pixels

# How often each task is asked, in the order of TASKS: tasks that are learned late come more often.
BROAD = (1.3, 1.6, 0.8, 2.0, 1.5, 1.0, 1.2, 1.5, 2.0)
HARD = (0.6, 0.6, 2.5, 2.5, 0.6, 1.0, 2.0, 1.5, 2.0)


@dataclass(frozen=True)
class Curriculum:
    """The mix of questions, which changes from batch to batch.

    Scenes grow from two things to five, by one every ``growth`` batches. ``drills`` and ``choices`` are the shares of
    single look-ups and of multiple-choice drills, as (first, last) values between which they change linearly over
    ``fade`` batches. The rest are tasks, drawn by ``weights``. ``stream`` keeps the random draws of different stages
    apart.
    """

    stream: int
    growth: int
    fade: int
    drills: tuple[float, float]
    choices: tuple[float, float]
    weights: tuple[float, ...] = BROAD

    def max_things(self, batch: int) -> int:
        """Returns the maximum number of things per scene."""
        return min(5, 2 + batch // self.growth)

    def shares(self, batch: int) -> tuple[float, float]:
        """Returns the shares (drills, choices) at a batch."""
        progress = min(1.0, batch / self.fade)
        drills, choices = (first + progress * (last - first) for first, last in (self.drills, self.choices))
        return drills, choices


# From a random start, a mixture of all tasks leaves look-ups by content at chance, so look-ups come alone first.
# Finding the letter of an option stays at chance beside them, so it has a separate stage.
LOOKING = Curriculum(stream=2, growth=307, fade=1150, drills=(1.0, 0.1), choices=(0.0, 0.0))
CHOOSING = Curriculum(stream=3, growth=1, fade=700, drills=(0.1, 0.05), choices=(0.6, 0.1))
# Rows of digits, relations and four right rotations are still being learned when everything else is known.
POLISHING = Curriculum(stream=4, growth=1, fade=1, drills=(0.05, 0.05), choices=(0.15, 0.15), weights=HARD)


class DialogueBatches(Dataset):
    """Batches with several short dialogues after each picture, which is processed only once.

    Every sixth batch has no pictures. A dialogue attends only to the picture and itself, at the positions that it would
    have alone, so that nothing is learned from the answers of other dialogues. Batch ``i`` depends only on the
    curriculum, the seed and ``i``.
    """

    def __init__(self, curriculum: Curriculum, seed: int, batches: int, batch_size: int, length: int) -> None:
        self.curriculum, self.seed, self.batches = curriculum, seed, batches
        self.batch_size, self.length = batch_size, length
        self.id_of = {word: i for i, word in enumerate(words())}
        self.weights = tuple(np.array(curriculum.weights) / sum(curriculum.weights))

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> PackedBatch:
        rng = np.random.default_rng((self.seed, self.curriculum.stream, index))
        if index % 6 == 5:
            room = self.length - PATCHES_A_SIDE**2
            rows = [self.row(lambda: fact_turns(rng, 1), room, False) for _ in range(2 * self.batch_size)]
            return pack(rows, [], self.id_of["<pad>"], None)
        scenes = [sample_scene(rng, "train", self.curriculum.max_things(index)) for _ in range(self.batch_size)]
        shares = self.curriculum.shares(index)
        rows = [self.row(partial(self.dialogue, scene, rng, *shares), self.length, True) for scene in scenes]
        prefix = [self.id_of["<user>"], *[self.id_of["<image>"]] * PATCHES_A_SIDE**2]
        return pack(rows, prefix, self.id_of["<pad>"], torch.stack([pixels(scene, rng) for scene in scenes]))

    def row(self, draw: Callable[[], list[Turn]], length: int, image: bool) -> list[Encoded]:
        """Returns as many encoded dialogues as fit into ``length`` tokens together with the picture before them."""
        room = length - image * (1 + PATCHES_A_SIDE**2)
        row: list[Encoded] = []
        while True:
            ids, labels = self.encode(draw(), image)
            room -= len(ids)
            if room < 0:
                return row
            row.append((ids, labels))

    def dialogue(self, scene: Scene, rng: np.random.Generator, drills: float, choices: float) -> list[Turn]:
        """Returns a drill with probability ``drills``, a multiple-choice drill with ``choices``, or else a task.

        A task is mostly one question. Sometimes it is a caption, a caption and a question as in calibration samples, or
        two questions.
        """
        drill_draw = rng.random()
        if drill_draw < drills + choices:
            return drill_turns(scene, rng) if drill_draw < drills else choice_turns(scene, rng)
        turns = visual_turns(scene, rng, 1, self.weights)
        task_draw = rng.random()
        if task_draw < 0.04:
            turns = exchange("describe the picture .", caption(scene, rng))
        elif task_draw < 0.06:
            turns = exchange("describe the picture .", caption(scene, rng)) + turns
        elif task_draw < 0.1:
            turns += visual_turns(scene, rng, 1, self.weights)
        return turns

    def encode(self, turns: Sequence[Turn], image: bool) -> Encoded:
        """Returns (ids, labels) after the first "<user>" and the picture; the loss is on the answers and their end."""
        ids, labels = [], []
        for i in range(0, len(turns), 2):
            opening = [] if image and i == 0 else ["<user>"]
            prompt = [self.id_of[word] for word in [*opening, *turns[i]["text"].split(), "<assistant>"]]
            target = [self.id_of[word] for word in [*turns[i + 1]["text"].split(), "<end>"]]
            ids += prompt + target
            labels += [IGNORED] * len(prompt) + target
        return ids, labels


class LanguageStage(L.LightningModule):
    """Trains blocks, embeddings and projector.

    If ``tower`` is true, the vision tower is also trained in the last third, at a twentieth of the learning rate.
    """

    def __init__(
        self, model: LlavaForConditionalGeneration, schedule: Schedule, muon_lr: float, adam_lr: float, tower: bool
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.schedule, self.muon_lr, self.adam_lr = model, schedule, muon_lr, adam_lr
        self.tower = tower
        # With a custom mask, plain matrix products train a third faster on CPU than fused attention.
        model.get_decoder().set_attn_implementation("eager")

    def on_train_batch_start(self, batch: PackedBatch, batch_idx: int) -> None:
        self.model.model.vision_tower.requires_grad_(self.tower and 3 * batch_idx >= 2 * self.schedule.steps)

    def training_step(self, batch: PackedBatch, batch_idx: int) -> None:
        loss = answer_loss(self.model, batch)
        descend(self, loss)
        content = "facts" if batch.images is None else "pictures"
        self.log(f"language/loss_{content}", loss, prog_bar=True)

    def configure_optimizers(self) -> Any:
        inner = self.model.model
        matrices, others = split_parameters(inner.language_model)
        groups = [
            {"params": others, "lr": self.adam_lr},
            # What the first stage has trained changes slowly.
            {"params": list(inner.multi_modal_projector.parameters()), "lr": self.adam_lr / 4},
            {"params": list(inner.vision_tower.parameters()), "lr": self.adam_lr / 20},
        ]
        return optimizers(matrices, groups, self.muon_lr, self.schedule)
