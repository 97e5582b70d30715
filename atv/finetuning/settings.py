"""What a fine-tuning run is asked to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Options of the training itself; ``atv finetune --help`` explains them.

    Attributes:
        epochs: how often every sample is seen.
        batch_size: samples a forward pass, on each rank.
        learning_rate: the highest; it rises linearly and falls as a cosine to zero.
        weight_decay: of AdamW.
        warmup: share of all steps in which the learning rate rises.
        lora_rank: of a masked low-rank update of each pruned weight, trained instead of the weight and merged in the
            end; None trains the weights.
        lora_alpha: the update is multiplied by this over the rank.
        train_also: names or shell patterns of parameters to train beside.
        seed: of the samples drawn, their order and the adapters.

    Raises:
        ValueError: for a value out of range; the message names it.
    """

    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    warmup: float = 0.05
    lora_rank: int | None = None
    lora_alpha: float = 16.0
    train_also: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "lora_alpha"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay: expected 0 or more, got {self.weight_decay}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup: expected a share of all steps in [0, 1), got {self.warmup}")
