"""The dashboard over all ablations, as plain data that needs no account, and as a W&B workspace.

The workspace needs wandb-workspaces, an optional package.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import wandb

from atv.tracking import keys

NAME = "atv: decoupled pathways"
TEXT, VISUAL = "text", "visual"
RUNS_SHOWN = 1000


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        kind: "line" (over ``x``), "bar" (one per group) or "image".
        metrics: keys that runs log.
        x: key of the x axis.
        by: column of the runs' config; runs with the same value are averaged to one line or bar, with the range as a
            band.
        pattern: a regular expression to use instead of ``metrics`` if the keys contain names of Linears or pathways.
    """

    kind: Literal["line", "bar", "image"]
    title: str
    metrics: tuple[str, ...] = ()
    x: str = ""
    by: str = ""
    pattern: str = ""


@dataclass(frozen=True)
class PanelSection:
    """A group of panels under a heading."""

    name: str
    panels: tuple[Panel, ...]


def sections() -> tuple[PanelSection, ...]:
    """Returns all sections of the dashboard, with text and visual side by side."""
    return (
        PanelSection("Sparsity: how much may each pathway lose", _sparsity()),
        PanelSection("Calibration source: which tokens should calibrate each pathway", _source()),
        PanelSection("Activations by block, text against visual", _norms()),
        PanelSection("Drift and selected tokens by block", _selection()),
        PanelSection("Masks", _masks()),
    )


def specification() -> dict[str, Any]:
    """Returns the dashboard as plain data."""
    return {"name": NAME, "sections": [asdict(section) for section in sections()]}


def _sparsity() -> tuple[Panel, ...]:
    average = (keys.AVERAGE,)
    return (
        Panel("line", "Retention (%) by sparsity, one line per pruned pathway", average, keys.SPARSITY, keys.PATHWAY),
        Panel("bar", "Retention (%) by pruned pathway, mean over sparsities", average, by=keys.PATHWAY),
    )


def _source() -> tuple[Panel, ...]:
    return tuple(
        Panel(
            "line",
            f"{pathway.capitalize()} pathway pruned: retention (%) by sparsity, one line per calibration source",
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
            f"K: {modality} tokens in the pool per sample, by block and pathway",
            x=keys.BLOCK,
            by=keys.SOURCE,
            pattern=f"^{keys.selected('.*', modality)}$",
        )
        for modality in (TEXT, VISUAL)
    )
    return (drift, *selected)


def _masks() -> tuple[Panel, ...]:
    sparsity_pattern = f"^{keys.block_sparsity('.*')}$"
    return (
        Panel("image", "Overlap of text and visual masks", (keys.figure("mask_overlap"),)),
        Panel("line", "Sparsity reached by block and pathway", x=keys.BLOCK, by=keys.PATHWAY, pattern=sparsity_pattern),
    )


def save_workspace(entity: str, project: str, panel_sections: Sequence[PanelSection]) -> str:
    """Saves the workspace as a new view of the project.

    Returns:
        The URL of the view.

    Raises:
        ValueError: if wandb-workspaces is not installed, or W&B cannot be reached or rejects the view.
    """
    try:
        return workspace(entity, project, panel_sections).save().url
    except wandb.errors.Error as error:
        raise ValueError(f"dashboard: W&B: {error} (--output FILE writes the specification)") from error


def workspace(entity: str, project: str, panel_sections: Sequence[PanelSection]) -> Any:
    """Returns an unsaved ``wandb_workspaces.workspaces.Workspace``; contacts no server.

    Raises:
        ValueError: if wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise ValueError("dashboard: wandb-workspaces is not installed; pip install wandb-workspaces") from error
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            ws.Section(name=section.name, panels=[_panel(panel) for panel in section.panels], is_open=True)
            for section in panel_sections
        ],
        settings=ws.WorkspaceSettings(max_runs=RUNS_SHOWN),
        auto_generate_panels=False,
    )


def _panel(panel: Panel) -> Any:
    import wandb_workspaces.reports.v2 as wr

    if panel.kind == "image":
        return wr.MediaBrowser(title=panel.title, media_keys=list(panel.metrics), num_columns=1)
    grouped: dict[str, Any] = {"groupby": wr.Config(panel.by), "groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
    shared: dict[str, Any] = {"title": panel.title, "max_runs_to_show": RUNS_SHOWN} | grouped
    if panel.kind == "bar":
        return wr.BarPlot(metrics=list(panel.metrics), orientation="v", **shared)
    return wr.LinePlot(x=panel.x, y=list(panel.metrics), metric_regex=panel.pattern or None, **shared)
