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
        ratios = {module: _gradient_ratio(module, sums) for module, sums in block.measured.items()}
        ratios_by_kind: dict[str, list[float]] = defaultdict(list)
        for module, ratio in ratios.items():
            ratios_by_kind[_module_kind(module)].append(ratio)
        module_of = {target: _parent_name(target) for target in block.targets}
        return {
            linear: (1.0, max(ratios[module], median(ratios_by_kind[_module_kind(module)])))
            for linear, module in module_of.items()
        }

    def measure(self, model: nn.Module, linears: Mapping[str, nn.Linear], batch: DenseBatch) -> dict[str, Tensor]:
        """Returns, by module, the mean ``|gradient|`` of each sample over visual tokens and over answer tokens, and
        whether the sample has visual tokens and answer tokens (1 or 0): (batch, 4)."""
        assert batch.answer is not None
        answer = batch.answer & batch.valid
        masks = torch.stack([batch.visual, answer])
        counts = masks.sum(-1)
        modules = {name: model.get_submodule(name) for name in map(_parent_name, linears)}
        with differentiable_outputs(model, modules) as outputs:
            logits = model(**batch.inputs, use_cache=False).logits
            loss = answers_loss(logits, batch.inputs["input_ids"], answer)
            gradients = dict(zip(outputs, torch.autograd.grad(loss, list(outputs.values())), strict=True))
        rows = {}
        for name, gradient in gradients.items():
            if gradient.shape[:2] != answer.shape:
                raise ValueError(
                    f"selection: {name} returned an output of shape {tuple(gradient.shape)}; expected one row per token"
                )
            magnitudes = gradient.float().abs().mean(-1)
            means = (magnitudes * masks).sum(-1) / counts.clamp(min=1)
            rows[name] = torch.cat([means, (counts > 0).float()]).T
        return rows


def answers_loss(logits: Tensor, ids: Tensor, answer: Tensor) -> Tensor:
    """Returns the sum over samples of the mean next-token cross-entropy of a sample's answer tokens, in float32.

    Args:
        logits: (batch, length, vocabulary).
        ids: token ids (batch, length).
        answer: which tokens are answers, bool (batch, length).
    """
    is_answer = answer[:, 1:].to(logits.device)
    token_losses = F.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), ids[:, 1:].to(logits.device), reduction="none"
    )
    return ((token_losses * is_answer).sum(1) / is_answer.sum(1).clamp(min=1)).sum()


def _parent_name(linear: str) -> str:
    return linear.rpartition(".")[0]


def _module_kind(module: str) -> str:
    """The last part of a module's name, such as mlp, which is the same in all blocks."""
    return module.rpartition(".")[2]


def _gradient_ratio(name: str, sums: Tensor) -> float:
    visual, answer, with_visual, with_answer = sums.tolist()
    if visual == 0:
        # For example, in the last block, where nothing reads the outputs at visual tokens.
        return 0.0
    if answer == 0:
        raise ValueError(
            f"selection: the gradients of answer tokens vanish at {name}, so GradientRatio cannot form their ratio"
        )
    return (visual / with_visual) / (answer / with_answer)
