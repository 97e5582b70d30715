"""A rule that weights visual tokens by how sensitive the loss is to them."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atv.model.batch import DenseBatch
from atv.model.hooks import differentiable_outputs
from atv.selection.parts import ObservedBlock, PartedSelection


class GradientRatio(PartedSelection):
    """Answers, and visual tokens weighted by the ratio of their gradients: G_answer / n_answer + r G_visual / n_visual.

    These are the weights of MBQ (modality-balanced quantization, arXiv 2412.19509). For the attention and the FFN of
    each block, r is the mean ``|gradient at its output|`` over visual tokens divided by the same over answer tokens.
    Means are taken per sample and then over samples, and r is at least its median over blocks. The gradients are those
    of the dense model's next-token loss on the answers. Prompts are in no pool. The rule needs a forward and a backward
    pass over the dense model beforehand, and memory for the graph of one batch; weights get no gradient. The parent
    module of the Linears counts as the attention or FFN.

    Raises:
        ValueError: if batches have no labels, a module does not return one row per token, or gradients vanish.
    """

    parts = ("answer", "visual")
    needs_answers = True
    needs_dense = True

    def weigh(self, block: ObservedBlock) -> Mapping[str, tuple[float, ...]]:
        ratios = {name: _ratio(name, sums) for name, sums in block.measured.items()}
        alike: dict[str, list[float]] = defaultdict(list)
        for name, ratio in ratios.items():
            alike[_kind(name)].append(ratio)
        holders = {target: _holder(target) for target in block.targets}
        return {t: (1.0, max(ratios[name], median(alike[_kind(name)]))) for t, name in holders.items()}

    def measure(self, model: nn.Module, linears: Mapping[str, nn.Linear], batch: DenseBatch) -> dict[str, Tensor]:
        """Returns, by module, the mean ``|gradient|`` of each sample over visual tokens and over answer tokens, and
        whether the sample has visual tokens and answer tokens (1 or 0): (batch, 4)."""
        assert batch.answer is not None
        answer = batch.answer & batch.valid
        kinds = torch.stack([batch.visual, answer])
        counts = kinds.sum(-1)
        holders = {name: model.get_submodule(name) for name in map(_holder, linears)}
        with differentiable_outputs(model, holders) as seen:
            logits = model(**batch.inputs, use_cache=False).logits
            loss = answers_loss(logits, batch.inputs["input_ids"], answer)
            gradients = dict(zip(seen, torch.autograd.grad(loss, list(seen.values())), strict=True))
        rows = {}
        for name, gradient in gradients.items():
            if gradient.shape[:2] != answer.shape:
                raise ValueError(
                    f"selection: {name} returned an output of shape {tuple(gradient.shape)}; expected one row per token"
                )
            size = gradient.float().abs().mean(-1)
            means = (size * kinds).sum(-1) / counts.clamp(min=1)
            rows[name] = torch.cat([means, (counts > 0).float()]).T
        return rows


def answers_loss(logits: Tensor, ids: Tensor, answer: Tensor) -> Tensor:
    """Returns the sum over samples of the mean next-token cross-entropy of a sample's answer tokens, in float32.

    Args:
        logits: (batch, length, vocabulary).
        ids: token ids (batch, length).
        answer: which tokens are answers, bool (batch, length).
    """
    told = answer[:, 1:].to(logits.device)
    each = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), ids[:, 1:].to(logits.device), reduction="none")
    return ((each * told).sum(1) / told.sum(1).clamp(min=1)).sum()


def _holder(linear: str) -> str:
    return linear.rpartition(".")[0]


def _kind(module: str) -> str:
    """The last part of a module's name, such as mlp, which is the same in all blocks."""
    return module.rpartition(".")[2]


def _ratio(name: str, sums: Tensor) -> float:
    visual, answer, with_visual, with_answer = sums.tolist()
    if visual == 0:
        # For example, in the last block, where nothing reads the outputs at visual tokens.
        return 0.0
    if answer == 0:
        raise ValueError(
            f"selection: the gradients of answer tokens vanish at {name}, so GradientRatio cannot form their ratio"
        )
    return (visual / with_visual) / (answer / with_answer)
