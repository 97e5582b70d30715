"""The dashboard as a W&B workspace (wandb-workspaces, an optional package)."""

from collections.abc import Sequence
from typing import Any

import wandb

from atv.tracking.dashboard_panels import NAME, Panel, PanelSection

RUNS_SHOWN = 1000


def save_workspace(entity: str, project: str, given: Sequence[PanelSection]) -> str:
    """Saves the workspace as a new view of the project.

    Returns:
        Its address.

    Raises:
        ValueError: when wandb-workspaces is not installed, or W&B cannot be reached or refuses.
    """
    try:
        return workspace(entity, project, given).save().url
    except wandb.errors.Error as error:
        raise ValueError(f"dashboard: W&B: {error} (--output FILE writes the specification)") from error


def workspace(entity: str, project: str, given: Sequence[PanelSection]) -> Any:
    """A ``wandb_workspaces.workspaces.Workspace`` that nobody has saved yet; asks no server.

    Raises:
        ValueError: when wandb-workspaces is not installed.
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
            for section in given
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
