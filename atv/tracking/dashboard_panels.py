"""What the dashboard over all ablations shows; plain data that needs neither an account nor a server."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from atv.tracking import keys

NAME = "atv: decoupled pathways"
TEXT, VISUAL = "text", "visual"


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        kind: "line" (over ``x``), "bar" (one a group), "image".
        metrics: keys that runs log.
        x: key of the x axis.
        by: column of the runs' config; runs of one value are one line or bar, their mean, with the range as a band.
        pattern: a regular expression in place of the metrics, where Linears or pathways name the keys.
    """

    kind: Literal["line", "bar", "image"]
    title: str
    metrics: tuple[str, ...] = ()
    x: str = ""
    by: str = ""
    pattern: str = ""


@dataclass(frozen=True)
class PanelSection:
    """Panels under a heading."""

    name: str
    panels: tuple[Panel, ...]


def sections() -> tuple[PanelSection, ...]:
    """All of the dashboard, text beside visual."""
    return (
        PanelSection("Sparsity: how much may each pathway lose", _sparsity()),
        PanelSection("Calibration source: which tokens should calibrate each pathway", _source()),
        PanelSection("Activations by block, text against visual", _norms()),
        PanelSection("Drift and selected tokens by block", _selection()),
        PanelSection("Masks", _masks()),
    )


def specification() -> dict[str, Any]:
    """The same as plain data."""
    return {"name": NAME, "sections": [asdict(section) for section in sections()]}


def _sparsity() -> tuple[Panel, ...]:
    average = (keys.AVERAGE,)
    return (
        Panel("line", "Retention (%) by sparsity, one line a pruned pathway", average, keys.SPARSITY, keys.PATHWAY),
        Panel("bar", "Retention (%) by pruned pathway, mean over sparsities", average, by=keys.PATHWAY),
    )


def _source() -> tuple[Panel, ...]:
    return tuple(
        Panel(
            "line",
            f"{pathway.capitalize()} pathway pruned: retention (%) by sparsity, one line a calibration source",
            (keys.retention("average", pathway),),
            keys.SPARSITY,
            keys.SOURCE,
        )
        for pathway in (TEXT, VISUAL)
    )


def _norms() -> tuple[Panel, ...]:
    return tuple(
        Panel(
            "line",
            f"Root mean square activation of {modality} tokens, by block and Linear",
            x=keys.BLOCK,
            by="ablation",
            pattern=f"^{keys.norm(modality, '.*')}$",
        )
        for modality in (TEXT, VISUAL)
    )


def _selection() -> tuple[Panel, ...]:
    drift = Panel("line", "Mean drift of visual tokens by block", (keys.DRIFT,), keys.BLOCK, keys.SOURCE)
    selected = (
        Panel(
            "line",
            f"K: {modality} tokens in the pool, a sample, by block and pathway",
            x=keys.BLOCK,
            by=keys.SOURCE,
            pattern=f"^{keys.selected('.*', modality)}$",
        )
        for modality in (TEXT, VISUAL)
    )
    return (drift, *selected)


def _masks() -> tuple[Panel, ...]:
    reached = f"^{keys.block_sparsity('.*')}$"
    return (
        Panel("image", "Overlap of text's and visual's masks", (keys.figure("mask_overlap"),)),
        Panel("line", "Sparsity reached by block and pathway", x=keys.BLOCK, by=keys.PATHWAY, pattern=reached),
    )
