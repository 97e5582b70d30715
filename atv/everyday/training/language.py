"""Second stage: the language model learns to caption and answer, on top of the trained tower, and keeps its English.

Every tenth batch has no pictures: it has plain English, the untouched model's own answers, and facts asked by name.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import Dataset
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from atv.bundled.dialogues import Turn, exchange
from atv.bundled.scenes import pick
from atv.bundled.training.optimization import Schedule
from atv.bundled.training.packing import IGNORED, Encoded, PackedBatch, answer_loss, pack
from atv.everyday.dialogues import caption_turns, contrasting_turns, drill_turns, fact_turns, visual_turns
from atv.everyday.scenes import Scene, sample_scene
from atv.everyday.training.stages import Stage
from atv.everyday.training.vision import PATCHES, pixels

# How often each task is asked, in the order of TASKS: tasks that are learned late come more often.
WEIGHTS = tuple(np.array((1.2, 1.0, 0.8, 1.5, 1.0, 1.5, 1.5, 1.3, 1.5)) / 11.3)
# Choosing the letter of an option is learned last of all; pairs of questions that differ only in the letter teach it.
CHOOSING = tuple(np.array((1.5, 0.8, 0.5, 1.4, 0.4, 1.6, 2.6, 1.4, 1.8)) / 12)
PROMPT, ANSWER, END = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", "{}<|im_end|>", "\n"


def encode_dialogue(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], opened: bool) -> Encoded:
    """Returns (ids, labels); the loss is taken on the answers and their end tokens.

    ``opened`` means that the picture comes before these turns and has already begun the first one.
    """
    ids, labels = [], []
    for index in range(0, len(turns), 2):
        prompt = PROMPT.format(turns[index]["text"])
        if opened and index == 0:
            prompt = prompt.removeprefix("<|im_start|>user\n")
        prompt_ids = tokenizer((END if index else "") + prompt, add_special_tokens=False).input_ids
        answer_ids = tokenizer(ANSWER.format(turns[index + 1]["text"]), add_special_tokens=False).input_ids
        ids += prompt_ids + answer_ids
        labels += [IGNORED] * len(prompt_ids) + answer_ids
    return ids, labels


class Rehearsal:
    """Text without pictures: windows of plain English, chats answered by the untouched model, and facts.

    Args:
        folder: contains *.txt, and chat.jsonl with rows {"question", "answer"}.
    """

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        texts = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.txt"))]
        self.plain = [token_id for text in texts for token_id in tokenizer(text, add_special_tokens=False).input_ids]
        lines = (folder / "chat.jsonl").read_text(encoding="utf-8").splitlines()
        self.chats = [exchange(row["question"], row["answer"]) for row in map(json.loads, lines)]

    def window(self, rng: Generator, length: int) -> list[Encoded]:
        """Returns a window of plain English; every token after the first is to be predicted."""
        start = int(rng.integers(len(self.plain) - length))
        ids = self.plain[start : start + length]
        return [(ids, [IGNORED, *ids[1:]])]

    def turns(self, rng: Generator) -> list[Turn]:
        return pick(rng, self.chats) if rng.random() < 0.6 else fact_turns(rng)


@dataclass(frozen=True)
class Curriculum:
    """The mix of questions, which changes from batch to batch.

    Scenes grow by one item every ``growth`` batches. The share of drills falls from all to ``drills`` in ``fade``
    batches.

    Attributes:
        stream: keeps the random draws of different stages apart.
        weights: how often each task is asked.
        contrasts: share of questions that come with a second question of the same group.
    """

    stream: int
    growth: int = 1
    fade: int = 1
    drills: float = 0.1
    weights: tuple[float, ...] = WEIGHTS
    contrasts: float = 0.0

    def max_things(self, batch: int) -> int:
        """Returns the maximum number of items per scene."""
        return min(6, 2 + batch // self.growth)

    def share(self, batch: int) -> float:
        """Returns the share of drills."""
        return max(self.drills, 1 - (1 - self.drills) * batch / self.fade)


CURRICULA = {
    "language": Curriculum(2, growth=25, fade=200),
    "choosing": Curriculum(4, weights=CHOOSING, contrasts=0.5),
    "settling": Curriculum(3, weights=CHOOSING, contrasts=0.25),
}


class DialogueBatches(Dataset):
    """Batches of dialogues; batch ``i`` depends only on stage, seed and ``i``, so a resumed run sees the same ones."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rehearsal: Rehearsal,
        seed: int,
        batches: int,
        stage: str,
        batch_size: int = 4,
        length: int = 520,
    ) -> None:
        self.tokenizer, self.rehearsal, self.curriculum = tokenizer, rehearsal, CURRICULA[stage]
        self.seed, self.batches, self.batch_size, self.length = seed, batches, batch_size, length
        opening = tokenizer("<|im_start|>user\n", add_special_tokens=False).input_ids
        self.prefix = [*opening, *[tokenizer.convert_tokens_to_ids("<image>")] * PATCHES**2]

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> PackedBatch:
        rng = np.random.default_rng((self.seed, self.curriculum.stream, index))
        padding = self.tokenizer.pad_token_id
        if index % 10 == 9:
            room = self.length - 120
            rows = [self.rehearsal.window(rng, room), self.rehearsal.window(rng, room)]
            rows += [self._row(lambda: [self.rehearsal.turns(rng)], room, False) for _ in range(2)]
            return pack(rows, [], padding, None)
        scenes = [sample_scene(rng, "train", 2, self.curriculum.max_things(index)) for _ in range(self.batch_size)]
        drill_share, room = self.curriculum.share(index), self.length - len(self.prefix)
        rows = []
        for scene in scenes:
            encoded_caption = encode_dialogue(self.tokenizer, caption_turns(scene, rng), True)
            encoded_questions = self._row(
                partial(self._dialogues, scene, rng, drill_share), room - len(encoded_caption[0]), True
            )
            rows.append([encoded_caption, *encoded_questions])
        return pack(rows, self.prefix, padding, torch.stack([pixels(scene, rng) for scene in scenes]))

    def _row(self, draw: Callable[[], Sequence[Sequence[Turn]]], room: int, opened: bool) -> list[Encoded]:
        """Returns as many encoded dialogues as fit into ``room`` tokens, but at least one."""
        row: list[Encoded] = []
        while True:
            for turns in draw():
                encoded = encode_dialogue(self.tokenizer, turns, opened)
                room -= len(encoded[0])
                if room < 0 and row:
                    return row
                row.append(encoded)

    def _dialogues(self, scene: Scene, rng: Generator, drills: float) -> list[list[Turn]]:
        """Returns a drill, two contrasting questions as separate dialogues, or one or two questions, at random."""
        weights, contrasts = self.curriculum.weights, self.curriculum.contrasts
        if rng.random() < drills:
            return [drill_turns(scene, rng)]
        if contrasts and rng.random() < contrasts:
            return contrasting_turns(scene, rng, weights)
        return [visual_turns(scene, rng, 2 if rng.random() < 0.1 else 1, weights)]


class LanguageStage(Stage):
    """Trains the language model's updates, and the projector at a lower rate; the tower is not trained."""

    def __init__(
        self, model: LlavaForConditionalGeneration, steps: int, rate: float = 2e-3, falling: bool = False
    ) -> None:
        super().__init__(model, steps)
        self.rate, self.factor = rate, Schedule(steps, warmup=20, hold=0.0 if falling else 1.0)
        model.model.multi_modal_projector.requires_grad_(True)
        # With a custom mask, plain matrix products train a third faster on CPU than fused attention.
        model.get_decoder().set_attn_implementation("eager")

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        loss = answer_loss(self.model, batch)
        self.log(f"language/loss_{'text' if batch.images is None else 'pictures'}", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        inner = self.model.model
        updates = [p for p in inner.language_model.parameters() if p.requires_grad]
        groups = [
            {"params": updates, "lr": self.rate},
            {"params": list(inner.multi_modal_projector.parameters()), "lr": self.rate / 5},
        ]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
