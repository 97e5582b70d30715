"""Keys of logged values, shared by the trackers that write them and the dashboard that reads them."""

from typing import Any

BLOCK = "x_block"  # the x axis of curves; its own chart comes last if charts are sorted alphabetically
SPARSITY = "sparsity"  # the x axis of retention: sparsity of the pruned pathway, 0..1
# The most important keys come first.
AVERAGE = "average_retention"
DRIFT = "drift"
SECONDS = "block_seconds"
CURVES = (DRIFT, SECONDS, "norm/*", "selected/*", "block_sparsity/*")

# Columns of a run's config by which the dashboard groups runs.
PATHWAY = "pruned_pathway"
SOURCE = "calibration_source"

_SOURCES = {"TextOnly": "text", "VisualOnly": "visual", "AllTokens": "mixed"}


def norm(modality: str, site: str) -> str:
    """Returns the key of a modality's root mean square activation at the input of a Linear."""
    return f"norm/{modality}/{site}"


def selected(pathway: str, modality: str) -> str:
    """Returns the key of K: a modality's tokens in a pathway's pool, per sample."""
    return f"selected/{pathway}/{modality}"


def block_sparsity(pathway: str) -> str:
    """Returns the key of the share of a block's target weights that is pruned in a pathway."""
    return f"block_sparsity/{pathway}"


def retention(task: str, pathway: str | None = None) -> str:
    """Returns the key of retention, in percent of the dense score; with a pathway, only runs that prune it log it."""
    return f"retention/{task}" if pathway is None else f"retention_pruning_{pathway}/{task}"


def line(name: str) -> str:
    """Returns the key of a method's average retention, by sparsity, in an ablation's summary."""
    # W&B interprets a dot in a key as nesting.
    return f"{AVERAGE}/{name.replace('.', '_')}"


def score(task: str) -> str:
    """Returns the key of a task's score, in percent."""
    return f"score/{task}"


def figure(ablation: str) -> str:
    """Returns the key of an ablation's figure."""
    return f"figure/{ablation}"


def pruned(plans: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the columns to group by, from the plans of a pruning report (pathway -> settings).

    The pruned pathway is ``both`` if one set of weights serves both modalities, ``text`` or ``visual`` if the other one
    stays dense, ``text and visual`` if each is pruned separately, and ``none`` for the dense model. A step that only
    changes the values of weights, such as rounding, counts as pruning to a sparsity of 0.
    """
    pruning_plans = {name: plan for name, plan in plans.items() if plan["sparsity"] > 0 or "reconstruct" in plan}
    pools = dict.fromkeys(plan["selection"]["class"] for plan in pruning_plans.values())
    return {
        PATHWAY: " and ".join(pruning_plans) or "none",
        SPARSITY: sum(plan["sparsity"] for plan in pruning_plans.values()) / max(len(pruning_plans), 1),
        SOURCE: " and ".join(_SOURCES.get(pool, pool) for pool in pools) or "none",
    }
