"""Time of 2:4 matrix products with core PyTorch's semi-structured tensors against dense ones, on a GPU.

``python -m experiments.cost.semi_structured --model FOLDER`` times the distinct shapes of the Linears that atv prunes
in that model.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jsonargparse import auto_cli
from torch import Tensor
from torch.sparse import to_sparse_semi_structured
from transformers import AutoConfig, AutoModelForImageTextToText

from atv.bundled import BUNDLED
from atv.model.loading import model_folder
from atv.model.lvlm import LVLM
from atv.patterns import NOfM
from atv.records.page_parts import markdown
from atv.records.provenance import hardware
from atv.runtime.timing import Row, compare, elapsed, interleaved
from experiments.cost.result_page import cells

Shape = tuple[int, int]
Compress = Callable[[Tensor], Tensor]
NO_GPU = "2:4 matrix products: skipped, there is no NVIDIA GPU of compute capability 8.0 or newer, which they need"
# The kernels' smallest sizes for 16-bit weights.
_OUT, _IN = 32, 64
_INNER = 10


def target_shapes(folder: Path) -> list[Shape]:
    """The distinct shapes (out, in) of the Linears that atv prunes in a model; reads no weights."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    return sorted({(linear.out_features, linear.in_features) for linear in LVLM.of(model).linears.values()})


def measure(
    shapes: Sequence[Shape],
    tokens: Sequence[int],
    repeats: int,
    device: torch.device,
    dtype: torch.dtype = torch.bfloat16,
    compress: Compress = to_sparse_semi_structured,
) -> list[Row]:
    """One row per shape and number of tokens: time of ``x @ W^T`` with W compressed, relative to W dense."""
    return [_row(shape, count, repeats, device, dtype, compress) for shape in shapes for count in tokens]


def _row(shape: Shape, tokens: int, repeats: int, device: torch.device, dtype: torch.dtype, compress: Compress) -> Row:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(shape, generator=generator).to(device, dtype)
    dense.masked_fill_(~NOfM(2, 4).mask(dense.abs().float(), 0.5), 0)
    x = torch.randn(tokens, shape[1], generator=generator).to(device, dtype)
    sparse = compress(dense)
    runs = {"2:4": _product(x, sparse), "dense": _product(x, dense)}
    interleaved(runs, 2)
    row = compare(interleaved(runs, repeats), "2:4", "dense")
    return Row(f"{shape[0]} x {shape[1]}, {tokens} tokens", "dense", row.ratios, row.seconds)


def _product(x: Tensor, weight: Tensor) -> Callable[[], float]:
    """A function that times one product, as the mean over a few that are launched together."""

    def several() -> None:
        for _ in range(_INNER):
            torch.nn.functional.linear(x, weight)

    return lambda: elapsed(several) / _INNER


def supported() -> bool:
    """Whether the kernels run on this machine's GPU."""
    return torch.cuda.is_available() and torch.version.cuda is not None and torch.cuda.get_device_capability() >= (8, 0)


def bench(model: str = BUNDLED, tokens: Sequence[int] = (16, 256, 4096), repeats: int = 9) -> None:
    """Time 2:4 products for the shapes of a model, in bfloat16.

    Args:
        model: Folder of an LVLM, or "bundled".
        tokens: Numbers of rows of the activations; each gives one table row.
        repeats: Number of interleaved repeats.
    """
    shapes = target_shapes(model_folder(model))
    if not supported():
        print(NO_GPU)
        return
    unsupported = [shape for shape in shapes if shape[0] % _OUT or shape[1] % _IN]
    for out, width in unsupported:
        print(f"- {out} x {width}: left out, because the kernels need multiples of {_OUT} x {_IN}")
    rows = measure([shape for shape in shapes if shape not in unsupported], tokens, repeats, torch.device("cuda"))
    print(f"{hardware()}\n")
    print(markdown(["out x in", "seconds", "against", "ratio"], (cells(row)[:4] for row in rows)))


if __name__ == "__main__":
    auto_cli(bench, as_positional=False)
