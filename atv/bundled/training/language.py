"""Second stage: the language model learns to caption, to answer and to know, on top of the trained tower."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import LlavaForConditionalGeneration

from atv.bundled.dialogues import Turn, caption, exchange, fact_turns, visual_turns
from atv.bundled.scenes import sample_scene
from atv.bundled.training.optimization import clip, optimizers, split_parameters
from atv.bundled.training.vision import PATCHES_A_SIDE, pixels
from atv.bundled.vocabulary import words

IGNORED = -100
# How often each task is asked, in the order of TASKS; searching and reasoning are learned late, so they come more often.
TASK_WEIGHTS = (1.3, 1.6, 0.8, 2.0, 1.5, 1.0, 1.2, 1.5, 2.0)


@dataclass
class Batch:
    """Token ids (batch, length) padded on the right, labels with -100 where no loss is taken, pixels if any."""

    ids: Tensor
    labels: Tensor
    images: Tensor | None


class DialogueBatches(Dataset):
    """Dialogues of about ``length`` text tokens, cut at whole turns; every sixth batch has no pictures.

    Scenes grow from two things to five over the first fifth of the batches. Batch ``i`` depends on the seed and
    ``i`` alone.
    """

    def __init__(self, seed: int, batches: int, batch_size: int, length: int) -> None:
        self.seed, self.batches, self.batch_size, self.length = seed, batches, batch_size, length
        self.id_of = {word: i for i, word in enumerate(words())}
        self.weights = tuple(np.array(TASK_WEIGHTS) / sum(TASK_WEIGHTS))

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self.seed, 2, index))
        if index % 6 == 5:
            rows = [self.encode(fact_turns(rng, self.length // 8), 0) for _ in range(2 * self.batch_size)]
            return self.collate(rows, None)
        most = min(5, 2 + 15 * index // self.batches)
        scenes = [sample_scene(rng, "train", most) for _ in range(self.batch_size)]
        rows = []
        for scene in scenes:
            turns = visual_turns(scene, rng, self.length // 9, self.weights)
            if rng.random() < 0.3:
                turns = exchange("describe the picture .", caption(scene, rng)) + turns
            rows.append(self.encode(turns, PATCHES_A_SIDE**2))
        return self.collate(rows, torch.stack([pixels(scene, rng) for scene in scenes]))

    def encode(self, turns: Sequence[Turn], image_tokens: int) -> tuple[list[int], list[int]]:
        """(ids, labels); the loss is taken on answers and their end."""
        ids, labels = [], []
        for i in range(0, len(turns), 2):
            question, answer = turns[i]["text"].split(), turns[i + 1]["text"].split()
            image = ["<image>"] * image_tokens if i == 0 else []
            prompt = [self.id_of[word] for word in ["<user>", *image, *question, "<assistant>"]]
            target = [self.id_of[word] for word in [*answer, "<end>"]]
            if ids and len(ids) + len(prompt) + len(target) > self.length + image_tokens:
                break
            ids += prompt + target
            labels += [IGNORED] * len(prompt) + target
        return ids, labels

    def collate(self, rows: Sequence[tuple[list[int], list[int]]], images: Tensor | None) -> Batch:
        """Pads to the longest row."""
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), longest), self.id_of["<pad>"])
        labels = torch.full((len(rows), longest), IGNORED)
        for i, (row, targets) in enumerate(rows):
            ids[i, : len(row)], labels[i, : len(targets)] = torch.tensor(row), torch.tensor(targets)
        return Batch(ids, labels, images)


class LanguageStage(L.LightningModule):
    """Trains blocks, embeddings and projector; the tower joins for the last third, twenty times slower."""

    def __init__(self, model: LlavaForConditionalGeneration, steps: int, muon_lr: float, adam_lr: float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.steps, self.muon_lr, self.adam_lr = model, steps, muon_lr, adam_lr

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.model.model.vision_tower.requires_grad_(3 * batch_idx >= 2 * self.steps)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over answer tokens; padding is on the right, where causal attention never looks."""
        hidden = self.model.model(input_ids=batch.ids, pixel_values=batch.images, use_cache=False).last_hidden_state
        predicts = batch.labels[:, 1:] != IGNORED
        logits = self.model.lm_head(hidden[:, :-1][predicts])
        return F.cross_entropy(logits.float(), batch.labels[:, 1:][predicts])

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        both = self.optimizers()
        for optimizer in both:  # type: ignore[union-attr]
            optimizer.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        clip(self.parameters())
        for optimizer, scheduler in zip(both, self.lr_schedulers(), strict=True):  # type: ignore[arg-type]
            optimizer.step()
            scheduler.step()  # type: ignore[call-arg]
        kind = "facts" if batch.images is None else "pictures"
        self.log(f"language/loss_{kind}", loss, prog_bar=True)

    def configure_optimizers(self) -> Any:
        inner = self.model.model
        matrices, rest = split_parameters(inner.language_model)
        groups = [
            {"params": rest, "lr": self.adam_lr},
            # What stage one has made is moved slowly.
            {"params": list(inner.multi_modal_projector.parameters()), "lr": self.adam_lr / 4},
            {"params": list(inner.vision_tower.parameters()), "lr": self.adam_lr / 20},
        ]
        return optimizers(matrices, groups, self.muon_lr, self.steps)
