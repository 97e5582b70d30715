"""First stage: every patch feature learns to score highest against the words for what its cell shows.

The classifier weights are the language model's own word embeddings, so that what the tower sees and what the questions
say are in one space before the language model learns to compare them.
"""

from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import LlavaForConditionalGeneration

from atv.bundled.architecture import NOTHING, PATCH, SMUDGE, words
from atv.bundled.drawing import SIDE, draw
from atv.bundled.scenes import COLORS, COLUMNS, DIGITS, ROWS, SHAPES, Scene, Split, sample_scene
from atv.bundled.training.optimization import Schedule, descend, optimizers, split_parameters

CLASSES = {
    "kind": (*SHAPES, *DIGITS, SMUDGE, NOTHING),
    "color": (*COLORS, NOTHING),
    "row": ROWS,
    "column": COLUMNS,
}
PATCHES_A_SIDE = SIDE // PATCH


def cell_labels(scene: Scene) -> np.ndarray:
    """Returns the class index of kind, colour, row and column for each of the nine cells: (9, 4)."""
    labels = np.empty((9, 4), dtype=np.int64)
    for cell in range(9):
        row, column = divmod(cell, 3)
        thing = scene.at(row, column)
        kind = NOTHING if thing is None else SMUDGE if thing.smudged else thing.kind
        color = NOTHING if thing is None or thing.smudged else thing.color
        labels[cell] = CLASSES["kind"].index(kind), CLASSES["color"].index(color), row, column
    return labels


def pixels(scene: Scene, rng: np.random.Generator) -> Tensor:
    """Returns the drawn scene, normalised as the processor would, channels first: (3, 54, 54) in -1..1."""
    return torch.from_numpy(np.array(draw(scene, rng))).permute(2, 0, 1).float() / 127.5 - 1


class CellBatches(Dataset):
    """Batches of pictures; batch ``i`` depends only on the seed and ``i``, so a resumed run sees the same batches."""

    def __init__(self, split: Split, seed: int, batches: int, batch_size: int) -> None:
        self.split, self.seed, self.batches, self.batch_size = split, seed, batches, batch_size

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Returns pixels (batch, 3, 54, 54) and labels (batch, 9 cells, 4)."""
        rng = np.random.default_rng((self.seed, 1, index))
        scenes = [sample_scene(rng, self.split, max_things=9) for _ in range(self.batch_size)]
        labels = torch.from_numpy(np.stack([cell_labels(scene) for scene in scenes]))
        return torch.stack([pixels(scene, rng) for scene in scenes]), labels


class VisionStage(L.LightningModule):
    """Trains tower, projector and word embeddings; the Llama blocks are not trained."""

    def __init__(
        self, model: LlavaForConditionalGeneration, schedule: Schedule, muon_lr: float, adam_lr: float
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.schedule, self.muon_lr, self.adam_lr = model, schedule, muon_lr, adam_lr
        self.scale = nn.Parameter(torch.tensor(1.0))
        vocabulary = words()
        for name, classes in CLASSES.items():
            ids = torch.tensor([vocabulary.index(word) for word in classes])
            self.register_buffer(f"{name}_ids", ids, persistent=False)

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the scores of every patch against the words of each class: (batch, 9 cells, 9 patches, words)."""
        inner = self.model.model
        features = inner.get_image_features(pixel_values=images, vision_feature_layer=-1, return_dict=True)
        patches = torch.stack(list(features.pooler_output)).float()
        side = PATCHES_A_SIDE
        cells = (
            patches.view(-1, 3, side // 3, 3, side // 3, patches.shape[-1]).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        )
        embedding = self.model.get_input_embeddings().weight
        return {name: self.scale * cells @ embedding[getattr(self, f"{name}_ids")].T for name in CLASSES}

    @torch.no_grad()
    def match_scales(self, images: Tensor, word_norm: float = 4.0) -> None:
        """Gives words a mean norm of ``word_norm``, and patch features twice that, as a sum of four words would have.

        Training leaves features a thousand times longer than words. The language model would then hardly move the
        features, and words would be drowned out. Which word scores highest does not change.
        """
        embedding = self.model.get_input_embeddings().weight
        embedding *= word_norm / embedding.norm(dim=-1).mean()
        features = self.model.model.get_image_features(pixel_values=images, vision_feature_layer=-1, return_dict=True)
        factor = 2 * word_norm / torch.stack(list(features.pooler_output)).norm(dim=-1).mean()
        for parameter in self.model.model.multi_modal_projector.linear_2.parameters():
            parameter *= factor

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        scores = self.logits(images)
        expanded = labels[:, :, None, :].expand(-1, -1, 9, -1)
        losses = {
            name: F.cross_entropy(score.flatten(0, 2), expanded[..., i].flatten())
            for i, (name, score) in enumerate(scores.items())
        }
        descend(self, torch.stack(list(losses.values())).sum())
        self.log_dict({f"vision/loss_{name}": loss for name, loss in losses.items()}, prog_bar=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs the accuracy per cell, by a vote of its patches, over cells that are not empty."""
        images, labels = batch
        scores = self.logits(images)
        filled = labels[..., 0] != CLASSES["kind"].index(NOTHING)
        for i, (name, score) in enumerate(scores.items()):
            right = score.mean(2).argmax(-1) == labels[..., i]
            self.log(f"vision/{name}_accuracy", right[filled].float().mean(), prog_bar=True)

    def configure_optimizers(self) -> Any:
        matrices, others = split_parameters(self.model.model.vision_tower, self.model.model.multi_modal_projector)
        others = [*others, self.model.get_input_embeddings().weight, self.scale]
        return optimizers(matrices, [{"params": others, "lr": self.adam_lr}], self.muon_lr, self.schedule)
