"""Visual tokens weighed by how much the loss feels them."""

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
    """Answers, and visual tokens with the ratio of their gradients: G_answer / n_answer + r G_visual / n_visual.

    The weights of MBQ (modality-balanced quantization, arXiv 2412.19509): for the attention and the FFN of each block,
    r = mean ``|gradient at its output|`` over visual tokens / the same over answer tokens, of the answers' next-token
    loss of the dense model, means of samples; r is at least its median over blocks. Prompts are in no pool. It costs a
    forward and a backward over the dense model beforehand, and holds the graph of one batch; weights get no gradient.
    An attention or FFN is the module that holds the Linears.

    Raises:
        ValueError: where batches have no labels, a module gives no row for each token, or gradients vanish.
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
        """Module -> (batch, 4): mean |gradient| over visual tokens, over answer tokens, and whether there are any."""
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
                raise ValueError(f"selection: {name} gives {tuple(gradient.shape)}, not a row for each token")
            size = gradient.float().abs().mean(-1)
            means = (size * kinds).sum(-1) / counts.clamp(min=1)
            rows[name] = torch.cat([means, (counts > 0).float()]).T
        return rows


def answers_loss(logits: Tensor, ids: Tensor, answer: Tensor) -> Tensor:
    """The sum over samples of the mean next-token cross-entropy over a sample's answer tokens, in float32.

    Args:
        logits: (batch, length, vocabulary).
        ids, answer: (batch, length), the latter bool.
    """
    told = answer[:, 1:].to(logits.device)
    each = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), ids[:, 1:].to(logits.device), reduction="none")
    return ((each * told).sum(1) / told.sum(1).clamp(min=1)).sum()


def _holder(linear: str) -> str:
    return linear.rpartition(".")[0]


def _kind(module: str) -> str:
    """What modules of several blocks have in common, such as mlp."""
    return module.rpartition(".")[2]


def _ratio(name: str, sums: Tensor) -> float:
    visual, answer, with_visual, with_answer = sums.tolist()
    if visual == 0:
        # As in the last block, where what visual tokens become is read by none.
        return 0.0
    if answer == 0:
        raise ValueError(f"selection: GradientRatio found no gradient of answer tokens at {name} to compare with")
    return (visual / with_visual) / (answer / with_answer)
