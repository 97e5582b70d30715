"""Names of what is logged, for those who log and for the dashboard that reads."""

from typing import Any

BLOCK = "x_block"  # the x axis of curves; wherever charts are in the order of the alphabet, its own comes last
SPARSITY = "sparsity"  # the x axis of retention: of the pruned pathway, 0..1
# What matters most comes first.
AVERAGE = "average_retention"
DRIFT = "drift"
SECONDS = "block_seconds"
CURVES = (DRIFT, SECONDS, "norm/*", "selected/*", "block_sparsity/*")

# Columns of a run's config by which the dashboard groups.
PATHWAY = "pruned_pathway"
SOURCE = "calibration_source"

_SOURCES = {"TextOnly": "text", "VisualOnly": "visual", "AllTokens": "mixed"}


def norm(modality: str, site: str) -> str:
    """Root mean square activation of a modality that enters a Linear."""
    return f"norm/{modality}/{site}"


def selected(pathway: str, modality: str) -> str:
    """K: tokens of a modality in a pathway's pool, a sample."""
    return f"selected/{pathway}/{modality}"


def block_sparsity(pathway: str) -> str:
    """Share of the block's target weights that a pathway lost."""
    return f"block_sparsity/{pathway}"


def retention(task: str, pathway: str | None = None) -> str:
    """Percent of the dense score; with a pathway, only runs that prune this one log it."""
    return f"retention/{task}" if pathway is None else f"retention_pruning_{pathway}/{task}"


def line(name: str) -> str:
    """Average retention of one method, by sparsity, in an ablation's summary."""
    # W&B takes a dot in a key for a level of nesting.
    return f"{AVERAGE}/{name.replace('.', '_')}"


def score(task: str) -> str:
    """The key of a task's score, in percent."""
    return f"score/{task}"


def figure(ablation: str) -> str:
    """The picture of an ablation."""
    return f"figure/{ablation}"


def pruned(plans: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The columns to group by, from the plans of a pruning report (pathway -> settings).

    The pruned pathway is ``both`` where one set of weights serves both modalities, ``text`` or ``visual`` where the
    other stays dense, ``text and visual`` where each is pruned by itself, ``none`` for the dense model. What gives the
    weights new values alone, such as rounding, counts as pruning to a sparsity of 0.
    """
    changing = {name: plan for name, plan in plans.items() if plan["sparsity"] > 0 or "reconstruct" in plan}
    pools = dict.fromkeys(plan["selection"]["class"] for plan in changing.values())
    return {
        PATHWAY: " and ".join(changing) or "none",
        SPARSITY: sum(plan["sparsity"] for plan in changing.values()) / max(len(changing), 1),
        SOURCE: " and ".join(_SOURCES.get(pool, pool) for pool in pools) or "none",
    }
