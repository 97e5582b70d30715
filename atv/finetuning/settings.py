"""What a fine-tuning run is asked to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Options of the training itself; ``atv finetune --help`` explains them.

    Raises:
        ValueError: for a value out of range; the message names it.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    lora_rank: int | None
    lora_alpha: float
    train_also: tuple[str, ...]
    seed: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "lora_alpha"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay: expected 0 or more, got {self.weight_decay}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup: expected a share of all steps in [0, 1), got {self.warmup}")
