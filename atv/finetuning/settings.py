"""Settings of a fine-tuning run."""

from dataclasses import dataclass

from atv.model.lvlm import name_patterns
from atv.plugins import above_zero, at_least


@dataclass(frozen=True)
class Settings:
    """Options of the training itself.

    Attributes:
        epochs: Number of times that every sample is seen.
        batch_size: Samples in one forward pass, on each rank.
        learning_rate: Peak learning rate; it rises linearly to this value, then decays to zero along a cosine.
        weight_decay: Weight decay of the optimizer, AdamW.
        warmup: Share of all steps during which the learning rate rises.
        lora_rank: Rank of a masked low-rank update that is trained in place of each pruned weight and merged at the
            end. Default: the weights themselves are trained.
        lora_alpha: Factor of the low-rank update, divided by its rank.
        train_also: Names or shell patterns of further parameters to train, such as *multi_modal_projector*, separated
            by commas or as a list. With lora_rank, only the updates of pruned weights among them are trained.
        seed: Seed of every random draw: the samples, their order and the adapters.

    Raises:
        ValueError: if a value is out of range; the message names it.
    """

    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    warmup: float = 0.05
    lora_rank: int | None = None
    lora_alpha: float = 16.0
    train_also: tuple[str, ...] | str = ()
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "train_also", name_patterns(self.train_also))
        above_zero(epochs=self.epochs, batch_size=self.batch_size)
        above_zero(learning_rate=self.learning_rate, lora_alpha=self.lora_alpha)
        at_least(0, weight_decay=self.weight_decay)
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup: expected a share of all steps in [0, 1), got {self.warmup}")
