"""What the prediction loop gathers at every block as its samples pass: drift, activation norms, gradients."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from torch import Tensor

from atv.calibration.calibration_set import CalibrationBatch
from atv.calibration.loop import BlockwiseCalibration
from atv.calibration.pool import BlockPool
from atv.calibration.samples import LinearInputs, Sample
from atv.calibration.sums import MatrixSum, SampleSums
from atv.model.lvlm import LVLM
from atv.model.targets import Target
from atv.selection import SetStatistics, TokenSelection, WholeSet


class BlockCallback(L.Callback, ABC):
    """Observes every sample at a block, then finishes the block."""

    @abstractmethod
    def observe(self, sample: Sample) -> None:
        """Called once per sample and block."""

    @abstractmethod
    def finish(self, block: int) -> None:
        """Called once per block, on every rank, after all its samples were observed."""

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: CalibrationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, BlockwiseCalibration)
        for sample in outputs:
            self.observe(sample)
        if batch_idx + 1 == trainer.num_predict_batches[dataloader_idx]:
            self.finish(pl_module.first_block + dataloader_idx)


class Drift(BlockCallback):
    """The mean drift over all visual tokens of the calibration set, not over samples (ATV-Pruning, step 3).

    ``whole``, the set's tokens, is passed on to rules that need it.
    """

    def __init__(self, whole: WholeSet | None = None) -> None:
        self.statistics: SetStatistics
        self.whole = whole
        self._sums = SampleSums()

    def observe(self, sample: Sample) -> None:
        tokens = sample.tokens
        visual, text = (tokens.drift[mask].double().sum() for mask in (tokens.visual, tokens.text))
        counts = [visual, text, tokens.visual.sum(), tokens.text.sum(), torch.ones_like(visual)]
        self._sums.add("counts", tokens.sample, torch.stack([count.double() for count in counts]))

    def finish(self, block: int) -> None:
        totals, self._sums = self._sums.totals(), SampleSums()
        if not totals:
            raise ValueError(f"batches: no sample reached block {block}; cross-attention needs samples with pictures")
        drift, text_drift, visual, text, count = totals["counts"].tolist()
        mean_drift, mean_text_drift = drift / max(visual, 1), text_drift / max(text, 1)
        self.statistics = SetStatistics(mean_drift, int(count), int(text), int(visual), self.whole, mean_text_drift)


class ActivationNorms(BlockCallback):
    """L2 norm of each input channel of each Linear, separately for text and visual tokens; experts are left out.

    ``halves`` holds mean squares per token by site, (2, in), text first: one entry for all samples, or one for each
    half of them if the whole set is known.
    """

    def __init__(self, whole: WholeSet | None = None) -> None:
        self.norms: dict[str, dict[str, Tensor]] = {}
        self.halves: list[dict[str, Tensor]] = []
        self._half_of = None if whole is None else whole.half.tolist()
        self._sums = [SampleSums() for _ in range(1 if whole is None else 2)]

    def observe(self, sample: Sample) -> None:
        modalities, index = torch.stack([sample.tokens.text, sample.tokens.visual]), sample.tokens.sample
        sums = self._sums[0 if self._half_of is None else self._half_of[index]]
        sums.add("", index, modalities.sum(1).float())
        for site, inputs in sample.inputs.items():
            if isinstance(inputs, LinearInputs):
                sums.add(site, index, inputs.square_sums(modalities))

    def finish(self, block: int) -> None:
        totals = [sums.totals() for sums in self._sums]
        tokens = [total.pop("", torch.zeros(2)).clamp(min=1)[:, None] for total in totals]
        self.halves = [
            {site: site_squares / token_count for site, site_squares in total.items()}
            for total, token_count in zip(totals, tokens, strict=True)
        ]
        self.norms = {"text": {}, "visual": {}}
        for site in dict.fromkeys(site for total in totals for site in total):
            squares = torch.stack([total[site] for total in totals if site in total]).sum(0)
            self.norms["text"][site], self.norms["visual"][site] = squares.sqrt()
        self._sums = [SampleSums() for _ in totals]


class RegionalGradients(BlockCallback):
    """By Linear, the sum over samples of (d||block(x)||_2 / dW)^2, entry by entry: ``squares``, float32 (out, in).

    They are those of the block that was finished last, if any.
    """

    def __init__(self, lvlm: LVLM, targets: Mapping[str, Target]) -> None:
        self.squares: dict[str, Tensor] = {}
        self._targets_by_block = lvlm.by_block(targets)
        self._sums: dict[str, MatrixSum] = defaultdict(MatrixSum)

    def observe(self, sample: Sample) -> None:
        # The gradients are those of the norm times the square root of this count.
        count = sample.tokens.output.numel()
        for name, gradient in sample.gradients.items():
            inputs = sample.inputs[sample.site_of[name]]
            assert isinstance(inputs, LinearInputs)
            product = gradient.float().T @ inputs.values.float()
            self._sums[name].add(product.double().square_().div_(count))

    def finish(self, block: int) -> None:
        shapes = {name: target.weight.shape for name, target in self._targets_by_block[block].items()}
        self.squares = {name: self._sums[name].total(*shape).float() for name, shape in shapes.items()}
        self._sums.clear()

    def into(self, pool: BlockPool, rule: TokenSelection, statistics: SetStatistics) -> BlockPool:
        """Returns the pool with root mean square gradients, if any: means over samples or tokens, as its norms are."""
        count = statistics.samples if rule.average == "samples" else statistics.text_tokens + statistics.visual_tokens
        gradients = {name: (squares / count).sqrt() for name, squares in self.squares.items()}
        named_statistics = pool.statistics.items()
        return replace(
            pool,
            statistics={
                name: replace(linear_statistics, gradient=gradients.get(name))
                for name, linear_statistics in named_statistics
            },
        )
