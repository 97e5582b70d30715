"""What training lowers: the loss of the answers, or how far the outputs are from those of the dense model."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import kl_div, log_softmax

from atv.data.labels import IGNORED
from atv.model.lvlm import LVLM
from atv.model.on_device import on_device


class Objective(Protocol):
    """A loss of a batch; what it needs beside the trained model it keeps out of that model's checkpoints."""

    def place(self, device: torch.device, mesh: DeviceMesh | None) -> None:
        """Takes what it needs to where training runs: the device, or shards of it to each rank of a mesh."""

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """The mean over the tokens that count, and how many these are."""


class Answers:
    """Mean cross-entropy of the answers' tokens, as transformers computes it; batches have ``labels``."""

    def place(self, device: torch.device, mesh: DeviceMesh | None) -> None:
        """Answers come with the batches."""

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """The mean over the answers' tokens; a row's first token is predicted by none."""
        return model(**batch, use_cache=False).loss, int((batch["labels"][:, 1:] != IGNORED).sum())


class DenseOutputs:
    """Mean divergence of the trained model's next tokens from those of the dense one (Hinton et al., arXiv 1503.02531).

    It counts what both give at every text token of the samples, questions and answers alike. What follows a visual
    token is never read, and padding is none. The dense model reads the batch beside the trained one, without gradients,
    so that no output is kept from one batch to the next.
    """

    def __init__(self, teacher: LVLM) -> None:
        self.teacher = teacher
        teacher.model.requires_grad_(False)

    def place(self, device: torch.device, mesh: DeviceMesh | None) -> None:
        """The whole dense model on the device, or block by block in shards."""
        if mesh is None:
            self.teacher.model.to(device)  # type: ignore[arg-type]
        else:
            shard(self.teacher, mesh)

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """The mean over the batch's text tokens."""
        read = self.teacher.valid(batch) & ~self.teacher.visual(batch)
        expected = self.expected(batch)[read]
        return divergence(model(**batch, use_cache=False).logits[read], expected), len(expected)

    @torch.no_grad()
    def expected(self, batch: dict[str, Any]) -> Tensor:
        """The dense model's logits (batch, length, vocabulary), computed in the dtype of its files."""
        own: Any = self.teacher.model
        return own(**on_device(batch, None, own.dtype), use_cache=False).logits


def divergence(logits: Tensor, expected: Tensor) -> Tensor:
    """Mean over tokens of the Kullback-Leibler divergence KL(expected || logits), in nats and float32.

    Args:
        logits, expected: (tokens, vocabulary), of the trained model and of the dense one.
    """
    own, dense = log_softmax(logits.float(), dim=-1), log_softmax(expected.float(), dim=-1)
    return kl_div(own, dense, reduction="batchmean", log_target=True)


def shard(lvlm: LVLM, mesh: DeviceMesh) -> None:
    """Shards the parameters block by block, then all others, so that a rank holds one whole block at a time."""
    for module in (*lvlm.blocks, lvlm.model):
        fully_shard(module, mesh=mesh)
