"""An ablation as one W&B run; offline unless the user is logged in."""

import netrc
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import wandb

from atv.ablation.base import Ablation
from atv.ablation.results import Results
from atv.ablation.store import FinishedCell


def wandb_mode() -> str:
    """WANDB_MODE where it is set, else "online" for a logged-in user, else "offline"; asks no server."""
    return os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")


def _logged_in() -> bool:
    """Whether a key is in the environment or where ``wandb login`` leaves it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def log_run(ablation: Ablation, results: Results, table: pd.DataFrame, folder: Path) -> Path:
    """Logs table, figure, and every cell's norms and drift by block and modality.

    Returns:
        The folder of the W&B run.
    """
    finished = results.finished
    run = wandb.init(
        project="atv",
        name=ablation.name,
        job_type="ablation",
        dir=str(folder),
        mode=wandb_mode(),  # type: ignore[arg-type]
        config={
            "question": ablation.question,
            "cells": [done.record["id"] for done in finished if "id" in done.record],
        },
        settings=wandb.Settings(silent=True),
    )
    with run:
        run.log({"table": wandb.Table(dataframe=table), "figure": wandb.Image(str(folder / "figure.png"))})
        blocks = _block_rows(finished)
        if len(blocks):
            run.log({"blocks": wandb.Table(dataframe=blocks)})
            for block, rows in blocks.groupby("block"):
                run.log({"block": block, **{row.metric: row.value for row in rows.itertuples()}})
        return Path(run.dir).parent


def _block_rows(finished: Sequence[FinishedCell]) -> pd.DataFrame:
    """One row a cell, block and quantity: drift, selected tokens, root mean square activations by modality and site."""
    rows = []
    for done in finished:
        title = "/".join(str(value) for value in done.cell.labels.values())
        for block in (done.report or {}).get("blocks", []):
            values = {"drift": block["mean_drift"]}
            for modality, sites in block["norms"].items():
                values |= {f"norm/{modality}/{site.rsplit('.', 1)[-1]}": norm for site, norm in sites.items()}
            for pathway, counts in block["selected"].items():
                values |= {f"selected/{pathway}/{modality}": count for modality, count in counts.items()}
            rows += [
                {"cell": title, "block": block["block"], "metric": f"{title}/{name}", "value": float(value)}
                for name, value in values.items()
            ]
    return pd.DataFrame(rows)
