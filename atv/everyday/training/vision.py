"""First stage: every visual token learns to represent the words for what its patch shows, and for where that is.

Each patch is scored against the language model's own embeddings of all names, so that visual tokens resemble words
before the language model is trained. Unless they also encode rows and columns, the language model learns places last.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from atv.bundled.scenes import COLUMNS, DIGITS, ROWS
from atv.everyday.assembly.vision_half import IMAGENET
from atv.everyday.drawing import covered, draw
from atv.everyday.scenes import MIXTURES, SIDE, WORDS, Scene, Split, sample_scene
from atv.everyday.things import THINGS
from atv.everyday.training.stages import Stage

PATCH = 14
PATCHES = SIDE // PATCH
NOTHING, BLURRED = "empty", "blurred"
NAMES = (*(thing.name for thing in THINGS), *WORDS, *DIGITS, BLURRED, NOTHING)
NUMBER = {name: number for number, name in enumerate(NAMES)}
MEAN, DEVIATION = map(torch.tensor, IMAGENET)
PLACE_WEIGHT = 0.6
# Stage -> (stream, mixtures). The stream keeps the random draws of different stages apart. Handwriting is learned last,
# so the second stage shows more of it.
STREAMS = {"vision": (1, MIXTURES), "sharpening": (4, ((0.9, 0.05, 0.05), (0.4, 0.25, 0.35)))}


def pixels(scene: Scene, rng: np.random.Generator) -> Tensor:
    """Returns the drawn scene, normalised as the processor would: (3, 168, 168)."""
    image = torch.from_numpy(np.array(draw(scene, rng))).float() / 255
    return ((image - MEAN) / DEVIATION).permute(2, 0, 1)


def patch_names(scene: Scene, rng: np.random.Generator) -> Tensor:
    """Returns the number in ``NAMES`` of what covers at least half of each patch: (144,).

    The number is -1 if items cover part of a patch, but none covers half of it.
    """
    item_numbers = (
        covered(scene, rng).reshape(PATCHES, PATCH, PATCHES, PATCH).transpose(0, 2, 1, 3).reshape(PATCHES**2, -1)
    )
    names = np.full(PATCHES**2, -1)
    names[(item_numbers == -1).all(1)] = NUMBER[NOTHING]
    for item_number, item in enumerate(scene.items):
        names[(item_numbers == item_number).mean(1) >= 0.5] = NUMBER[BLURRED if item.blurred else item.name]
    return torch.from_numpy(names)


class PatchBatches(Dataset):
    """Batches of pictures (batch, 3, 168, 168) and the names of their patches (batch, 144).

    Batch ``i`` depends only on stage, seed and ``i``. Training varies the colours, so that names do not depend on them.
    """

    def __init__(self, split: Split, seed: int, batches: int, batch_size: int, stage: str = "vision") -> None:
        self.split, self.seed, self.batches, self.batch_size = split, seed, batches, batch_size
        self.stream, self.mixtures = STREAMS[stage]

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, self.stream, index))
        scenes = [sample_scene(rng, self.split, 7, 9, self.mixtures) for _ in range(self.batch_size)]
        seeds = rng.integers(2**32, size=len(scenes))
        images = torch.stack(
            [pixels(scene, np.random.default_rng(seed)) for scene, seed in zip(scenes, seeds, strict=True)]
        )
        names = torch.stack(
            [patch_names(scene, np.random.default_rng(seed)) for scene, seed in zip(scenes, seeds, strict=True)]
        )
        if self.split == "train":
            images = images * torch.from_numpy(rng.normal(1, 0.15, (len(scenes), 3, 1, 1))).float()
            images += torch.from_numpy(rng.normal(0, 0.2, (len(scenes), 3, 1, 1))).float()
        return images, names


def embedded(words: Sequence[str], embedding: Tensor, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Returns the mean embedding of each name's tokens, minus the vocabulary's mean: (names, width)."""
    ids = [tokenizer(f" {word}", add_special_tokens=False).input_ids for word in words]
    return torch.stack([embedding[word_ids].mean(0) for word_ids in ids]) - embedding.mean(0)


class VisionStage(Stage):
    """Trains the tower's updates and the projector; the language model only provides its word embeddings."""

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        steps: int,
        tower_rate: float = 6e-4,
        projector_rate: float = 2e-3,
    ) -> None:
        super().__init__(model, steps)
        self.rates = tower_rate, projector_rate
        self.scale = nn.Parameter(torch.tensor(12.0))
        embedding = model.get_input_embeddings().weight.detach()
        self.register_buffer("common", embedding.mean(0), persistent=False)
        for buffer_name, words in (("names", NAMES), ("rows", ROWS), ("columns", COLUMNS)):
            self.register_buffer(buffer_name, embedded(words, embedding, tokenizer), persistent=False)
        areas = torch.arange(PATCHES) * 3 // PATCHES
        self.register_buffer("row", areas.repeat_interleave(PATCHES), persistent=False)
        self.register_buffer("column", areas.repeat(PATCHES), persistent=False)

    @torch.no_grad()
    def match_scales(self, images: Tensor) -> None:
        """Initializes the projector for features of mean 0 and variance 1, and for tokens about as long as words.

        The tower's features are a tenth as large, and most of their length is common to all of them. With the usual
        initialization, the projector learns three times more slowly.
        """
        inner = self.model.model
        features = inner.vision_tower(images, output_hidden_states=True).hidden_states[-1][:, 1:].flatten(0, 1)
        first_linear, second_linear = inner.multi_modal_projector.linear_1, inner.multi_modal_projector.linear_2
        first_linear.weight.copy_(
            torch.randn_like(first_linear.weight) / first_linear.in_features**0.5 / (features - features.mean(0)).std()
        )
        first_linear.bias.copy_(-first_linear.weight @ features.mean(0))
        second_linear.weight.copy_(torch.randn_like(second_linear.weight) / second_linear.in_features**0.5 / 2)
        second_linear.bias.copy_(self.common)

    def tokens(self, images: Tensor) -> Tensor:
        """Returns the projected visual tokens, minus the vocabulary's mean: (batch, 144, width)."""
        features = self.model.model.get_image_features(pixel_values=images, vision_feature_layer=-1, return_dict=True)
        return torch.stack(list(features.pooler_output)) - self.common

    def losses(self, tokens: Tensor, names: Tensor) -> dict[str, Tensor]:
        """Returns cross-entropies against names, rows and columns, and the squared distance to their weighted sum."""
        labeled = names >= 0
        weights = torch.where(names == NUMBER[NOTHING], 0.1, 1.0)[labeled]
        comparisons = {"name": (self.names, names[labeled])}
        comparisons |= {
            aspect: (getattr(self, f"{aspect}s"), getattr(self, aspect).expand_as(names)[labeled])
            for aspect in ("row", "column")
        }
        losses, target = {}, torch.zeros_like(tokens[labeled])
        for aspect, (embeddings, right_words) in comparisons.items():
            scores = self.scale * F.normalize(tokens[labeled], dim=-1) @ F.normalize(embeddings, dim=-1).T
            losses[aspect] = (F.cross_entropy(scores, right_words, reduction="none") * weights).sum() / weights.sum()
            target += embeddings[right_words] * (1.0 if aspect == "name" else PLACE_WEIGHT)
        distance = (tokens[labeled] - target).square().sum(-1) / target.square().sum(-1).mean()
        losses["distance"] = (distance * weights).sum() / weights.sum()
        return losses

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        losses = self.losses(self.tokens(batch[0]), batch[1])
        self.log_dict({f"vision/{name}": loss for name, loss in losses.items()}, prog_bar=True)
        return losses["name"] + 0.2 * (losses["row"] + losses["column"]) + losses["distance"]

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Logs the share of the patches of things, words and digits that score highest against the right name."""
        tokens, names = self.tokens(batch[0]), batch[1]
        filled = (names >= 0) & (names < NUMBER[BLURRED])
        best = (F.normalize(tokens, dim=-1) @ F.normalize(self.names, dim=-1).T).argmax(-1)
        right = (best == names)[filled].float().mean()
        self.log(f"vision/right_{('dev', 'unseen')[dataloader_idx]}", right, add_dataloader_idx=False, prog_bar=True)

    def configure_optimizers(self) -> Any:
        inner = self.model.model
        tower = [p for p in inner.vision_tower.parameters() if p.requires_grad]
        projector_and_scale = [*inner.multi_modal_projector.parameters(), self.scale]
        optimizer = torch.optim.AdamW(
            [{"params": tower}, {"params": projector_and_scale}],
            lr=max(self.rates),
            betas=(0.9, 0.95),
            weight_decay=0.01,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, list(self.rates), self.steps, pct_start=0.05)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
