"""A pruned model in one figure: sparsity, drift and pool by block."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from atv.output.table import shares


def draw(report: Mapping[str, Any]) -> Figure:
    """Three panels over the decoder's blocks, from a sidecar."""
    # Not through pyplot, which would keep it.
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    sparsity, drift, pool = figure.subplots(1, 3)
    by_block = {block: 100 * share for block, share in shares(report, "block").items()}
    sparsity.bar(list(by_block), list(by_block.values()), color="#1d4ed8")
    sparsity.set(ylabel="pruned, %", ylim=(0, 100))
    at = [block["block"] for block in report["blocks"]]
    drift.plot(at, [block["mean_drift"] for block in report["blocks"]], "o-", color="#b45309", markersize=3)
    drift.set(ylabel="mean drift of visual tokens", ylim=(0, None))
    for modality, color in (("text", "0.6"), ("visual", "#b45309")):
        counts = [sum(chosen[modality] for chosen in block["selected"].values()) for block in report["blocks"]]
        pool.plot(at, counts, "o-", color=color, label=modality, markersize=3)
    pool.set(ylabel="tokens in the pool", ylim=(0, None))
    pool.legend(frameon=False)
    for axes in (sparsity, drift, pool):
        axes.set_xlabel("decoder block")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
