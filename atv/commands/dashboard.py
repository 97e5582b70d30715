"""``atv dashboard``"""

import json
import sys
from pathlib import Path

from atv.records.files import write_json
from atv.runtime.wandb_settings import wandb_mode
from atv.tracking.dashboard_panels import save_workspace, sections, specification

HINT = """nothing was sent to W&B. With an account:
  wandb login
  wandb sync results/*/wandb/offline-run-*
  atv dashboard --entity YOU_OR_TEAM
"""


def dashboard(entity: str | None = None, project: str = "atv", output: Path | None = None) -> None:
    """Make a W&B dashboard that compares the text and the visual pathway across the runs of `atv ablate`.

    Without an account, the dashboard's specification is written to standard output as JSON.

    Args:
        entity: W&B user or team that owns the project.
        project: W&B project that contains the runs.
        output: JSON file to write the specification to; nothing is then sent to W&B.
    """
    if output is not None:
        write_json(output, specification())
        sys.stderr.write(f"specification written to {output}; {HINT}")
    elif wandb_mode() != "online":
        sys.stdout.write(json.dumps(specification(), indent=2) + "\n")
        sys.stderr.write(HINT)
    elif not entity:
        raise ValueError("entity: name the W&B user or team that owns the project, such as --entity me")
    else:
        sys.stdout.write(f"dashboard: {save_workspace(entity, project, sections())}\n")
