"""An allocation by block, from the heaviness of the tails of the weights' spectra."""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from atv.allocation.base import Allocation, DenseStatistics
from atv.allocation.budget import scaled, sizes
from atv.model.targets import Target

_BINS = 100


class AlphaPruning(Allocation):
    """Blocks whose weights have heavier-tailed spectra keep more weights; needs no calibration data (arXiv 2410.10912).

    A power law with exponent alpha is fitted to the squared singular values of each Linear; a block's alpha_b is the
    mean over its Linears. The block's sparsity is proportional to
    1 - spread + 2 * spread * (alpha_b - min) / (max - min), scaled so that the target is met. Sparsities are capped at
    1, and the other blocks make up for it.

    Args:
        spread: epsilon in the paper, which varies it from 0.1 to 0.3.

    Raises:
        ValueError: if ``spread`` is outside [0, 1).
    """

    by_block = True

    def __init__(self, spread: float = 0.2) -> None:
        if not 0 <= spread < 1:
            raise ValueError(f"spread: expected a number in [0, 1), got {spread}")
        self.spread = spread

    def allocate(self, linears: Mapping[str, Target], sparsity: float, dense: DenseStatistics) -> dict[str, float]:
        """Returns the sparsity of each Linear by name.

        Raises:
            ValueError: for a Linear without a tail to fit, such as one of zeros, or for experts of an offloaded model.
        """
        alphas: dict[int, list[float]] = defaultdict(list)
        for name, target in linears.items():
            alphas[dense.block_of[name]].append(tail_exponent(_dense_weight(name, target, dense), name))
        by_block = {block: sum(values) / len(values) for block, values in alphas.items()}
        low, high = min(by_block.values()), max(by_block.values())
        relative_sparsities = {
            name: 1 - self.spread + 2 * self.spread * (by_block[dense.block_of[name]] - low) / ((high - low) or 1)
            for name in linears
        }
        return scaled(relative_sparsities, sizes(linears), sparsity)


def _dense_weight(name: str, target: Target, dense: DenseStatistics) -> Tensor:
    if target.weight.device.type != "meta":
        return target.weight.detach()
    if not isinstance(target, torch.nn.Linear):
        raise ValueError(
            f"allocation: AlphaPruning reads weights, but {name} is offloaded; load the model without offloading"
        )
    return dense.weight(name)


def tail_exponent(weight: Tensor, name: str = "") -> float:
    """Returns the exponent alpha of a power law p(x) ~ x^-alpha, fitted to the tail of the squared singular values.

    This is Hill's estimator, 1 + n / sum of log(x_i / x_min), over the n values from x_min on. The search for x_min
    covers 0.95 to 1.5 times the peak of the histogram of the values' logarithms (100 bins) and takes the fit with the
    smallest Kolmogorov-Smirnov distance. In the authors' code, this window starts at the logarithm of its lower end.

    Args:
        weight: weight (out, in).
        name: name of the weight for the error message.

    Raises:
        ValueError: if fewer than two singular values are above zero.
    """
    wide = weight.double() if weight.shape[0] <= weight.shape[1] else weight.double().T
    values = torch.linalg.eigvalsh(wide @ wide.T)
    values = values[values > 1e-12 * values[-1]]
    if len(values) < 2:
        raise ValueError(f"allocation: AlphaPruning cannot fit the spectrum of {name or 'a weight'}: it has no tail")
    logs = values.log()
    decimal_logs = logs / torch.log(torch.tensor(10.0).double())
    low, high = float(decimal_logs[0]), float(decimal_logs[-1])
    peak = 10 ** (low + int(torch.histc(decimal_logs, _BINS, low, high).argmax()) * (high - low) / _BINS)
    window = ((values >= 0.95 * peak) & (values <= 1.5 * peak)).nonzero()[:, 0]
    fits = [_fit_power_law(values, logs, start) for start in window.tolist() if start < len(values) - 1]
    # If no value lies in the window, x_min is the first value that is not below the peak.
    fallback_start = min(int(torch.searchsorted(values, peak)), len(values) - 2)
    return min(fits or [_fit_power_law(values, logs, fallback_start)])[1]


def _fit_power_law(values: Tensor, logs: Tensor, start: int) -> tuple[float, float]:
    """Returns (Kolmogorov-Smirnov distance, alpha) of the power law fitted to ``values[start:]``."""
    count = len(values) - start
    total = float((logs[start:] - logs[start]).sum())
    if not total:
        return float("inf"), float("inf")
    alpha = 1 + count / total
    model = 1 - (values[start:] / values[start]) ** (1 - alpha)
    empirical = torch.arange(count, dtype=values.dtype, device=values.device) / count
    return float((model - empirical).abs().max()), alpha
