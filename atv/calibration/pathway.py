"""The settings of one pathway: selection, criterion, pattern, allocation and sparsity, by name or as instances."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from atv.allocation import Allocation
from atv.calibration.contracts import check_contracts
from atv.calibration.contradictions import contradictions
from atv.calibration.dense_pass import dense_statistics
from atv.calibration.pathway_plan import PathwayPlan
from atv.criteria import Criterion
from atv.model.lvlm import LVLM
from atv.model.targets import Target
from atv.patterns import Pattern, parse_pattern
from atv.plugins import resolve
from atv.refinement import Reconstruction, Refinement
from atv.selection import TokenSelection


@dataclass(frozen=True)
class Pathway:
    """How a model, or one pathway of it, is pruned.

    ``sparsity=0`` leaves it dense; ``refine`` may be a list of several steps.
    """

    selection: TokenSelection | str
    sparsity: float | None = None
    criterion: Criterion | str = "Wanda"
    pattern: Pattern | str = "unstructured"
    allocation: Allocation | str = "Uniform"
    refine: Refinement | str | Sequence[Refinement | str] | None = None
    reconstruct: Reconstruction | str | None = None

    def targets(self, lvlm: LVLM, targets: Mapping[str, Target]) -> dict[str, Target]:
        """Returns those of the targets to which the pattern applies.

        Raises:
            ValueError: if the pattern does not suit this model or these targets.
        """
        return parse_pattern(self.pattern).about(lvlm, targets)

    def parts(self) -> PathwayPlan:
        """Resolves names and checks everything that needs no model.

        Raises:
            ValueError: for an unknown name, a sparsity outside [0, 1), or parts that contradict each other; the message
                names the argument, the value and the choices.
        """
        pattern = parse_pattern(self.pattern)
        plan = PathwayPlan(
            resolve(self.selection, TokenSelection, "selection"),
            resolve(self.criterion, Criterion, "criterion"),
            pattern,
            resolve(self.allocation, Allocation, "allocation"),
            self._sparsity(pattern),
            refine=self._refinements(),
            reconstruct=None if self.reconstruct is None else resolve(self.reconstruct, Reconstruction, "reconstruct"),
        )
        if contradiction := next(contradictions(plan), None):
            raise ValueError(contradiction)
        return plan

    def plan(self, lvlm: LVLM, targets: Mapping[str, Target]) -> PathwayPlan:
        """Resolves names and checks everything against the targets, before any calibration.

        Raises:
            ValueError: as in ``parts``, and if a part violates the contract of its kind or cannot serve experts, or the
                pattern does not fit a target.
        """
        unfitted_plan = self.parts()
        plan = replace(unfitted_plan, pattern=unfitted_plan.pattern.fitted(lvlm))
        dtype = next((target.weight.dtype for target in targets.values()), torch.float32)
        linear = next(iter(targets), "")
        check_contracts(plan, dtype, linear)
        plan.check(lvlm, targets)
        return plan if plan.allocation.needs_dense else plan.with_sparsities(targets, dense_statistics(lvlm, targets))

    def _refinements(self) -> tuple[Refinement, ...]:
        steps: Sequence[Any] = self.refine if isinstance(self.refine, list | tuple) else (self.refine,)
        return tuple(resolve(step, Refinement, "refine") for step in steps if step is not None)

    def _sparsity(self, pattern: Pattern) -> float:
        implied, requested = pattern.sparsity, self.sparsity
        if requested is not None and not (math.isfinite(requested) and 0 <= requested < 1):
            raise ValueError(f"sparsity: expected a number in [0, 1), got {requested}")
        if implied is not None and requested is not None and requested != implied:
            raise ValueError(f"sparsity: {requested} contradicts the pattern {self.pattern!r}, which implies {implied}")
        return implied if implied is not None else 0.5 if requested is None else requested
