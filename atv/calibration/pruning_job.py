"""A checked call of ``prune`` or ``decouple``, and by what a folder knows it again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from atv.calibration.pathway_plan import Plan
from atv.model.lvlm import LVLM
from atv.model.offload import stored
from atv.model.targets import Target
from atv.plugins import describe
from atv.records.digests import content_digest, telling, tensors_digest, weights_digest


@dataclass(frozen=True)
class PruningJob:
    """What is pruned (``targets``) and how (``plans`` by pathway); ``calibration`` is for the report alone."""

    lvlm: LVLM
    targets: Mapping[str, Target]
    plans: Mapping[str, Plan]
    propagate: bool = True
    seed: int = 0
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def of_samples(self, batches: object) -> "PruningJob":
        """The job with what its batches, once read, record of their samples, unless the caller said it."""
        return self if self.calibration else replace(self, calibration=getattr(batches, "record", {}))

    def settings(self) -> dict[str, Any]:
        """Class names and arguments, for the report."""
        described = {name: _describe(plan) for name, plan in self.plans.items()}
        return {"plans": described, "targets": list(self.targets), "propagate": self.propagate}

    def identity(self, batches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Settings, and digests of model and data."""
        model = self.lvlm.model
        weights = ((name, stored(model, name)) for name, _ in model.named_parameters())
        digests = {"model": weights_digest(weights), "config": content_digest(telling(model.config.to_dict()))}
        digests["calibration data"] = tensors_digest(batches)
        return {**self.settings(), "seed": self.seed, **digests}


def _describe(plan: Plan) -> dict[str, Any]:
    refine = [describe(step) for step in plan.refine]
    return {
        "selection": describe(plan.selection),
        "criterion": describe(plan.criterion),
        "pattern": describe(plan.pattern),
        "allocation": describe(plan.allocation),
        "sparsity": plan.sparsity,
        # Only where there is one, so that folders of runs without are known again.
        **({"refine": refine[0] if len(refine) == 1 else refine} if refine else {}),
        **({"reconstruct": describe(plan.reconstruct)} if plan.reconstruct else {}),
    }
