"""ATV-Pruning of a model of real size on a GPU; the paper reports 99.6 s for LLaVA-NeXT 8B."""

from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, CLIPVisionConfig, LlamaConfig, LlavaNextConfig

from atv.model.batch import cast_floats
from atv.runtime.timing import Row
from experiments.cost.floor import floor
from experiments.cost.whole_models import ATV, FLOOR, TimedPruning
from experiments.cost.workload import Batch, random_ids


@dataclass(frozen=True)
class GPUCost:
    """Seconds of ATV-Pruning and of the floor before and after it, and peak GPU memory in bytes (0 without a GPU)."""

    pruning: float
    floors: tuple[float, float]
    peak: int

    def row(self) -> Row:
        """The table's row, which compares pruning with the floor on the same device."""
        ratio = self.pruning / median(self.floors)
        return Row(f"{ATV}, LLaVA-NeXT 8B on the GPU", f"{FLOOR} there", [ratio], [self.pruning])


def llava_next_8b() -> LlavaNextConfig:
    """A config with the shape of llava-hf/llama3-llava-next-8b-hf; pictures become four tiles and an overview."""
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    text = LlamaConfig(
        vocab_size=128320,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
    )
    pinpoints = [[672, 672]]
    return LlavaNextConfig(
        vision_config=vision, text_config=text, image_token_index=128256, image_grid_pinpoints=pinpoints
    )


def next_batches(config: LlavaNextConfig, samples: int, text: int) -> list[Batch]:
    """One sample per batch: a square picture as an overview and four tiles, and about ``text`` text tokens."""
    generator = torch.Generator().manual_seed(0)
    vision: Any = config.vision_config
    grid = vision.image_size // vision.patch_size
    visual = grid**2 + 2 * grid * (2 * grid + 1)  # the overview, then the tiles with one token at the end of each line
    size = torch.tensor([[2 * vision.image_size] * 2])
    pixels = (1, 5, 3, vision.image_size, vision.image_size)
    return [
        random_ids(visual, text, config.image_token_index, generator)
        | {"pixel_values": torch.randn(pixels, generator=generator), "image_sizes": size}
        for _ in range(samples)
    ]


def measure(config: LlavaNextConfig, samples: int, text: int, device: torch.device, dtype: torch.dtype) -> GPUCost:
    """Prunes a random model that is made on the device, and runs the floor once before and once after."""
    with device:
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype).eval()
    batches = cast_floats(next_batches(config, samples, text), dtype, device)
    floor(model, batches[:2])
    floor_before = floor(model, batches)
    gpu = device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    pruning = TimedPruning(model, batches, "DriftTopK").prune(model)
    peak = torch.cuda.max_memory_allocated() if gpu else 0
    return GPUCost(pruning, (floor_before, floor(model, batches)), peak)


def rows(samples: int = 128) -> tuple[list[Row], list[str]]:
    """The table's row and a remark; without a GPU, only the remark."""
    if not torch.cuda.is_available():
        return [], [f"{ATV} of a random LLaVA-NeXT 8B: skipped, there is no GPU"]
    cost = measure(llava_next_8b(), samples, text=40, device=torch.device("cuda"), dtype=torch.bfloat16)
    conditions = f"bf16, {samples} samples, on {torch.cuda.get_device_name()}"
    return [cost.row()], [f"LLaVA-NeXT 8B: {conditions}: peak GPU memory {cost.peak / 2**30:.1f} GiB"]
