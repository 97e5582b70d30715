"""The plan for pruning one pathway."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from atv.allocation import Allocation, DenseStatistics
from atv.calibration.checked_steps import allocated, check_finite, reconstructed, refined
from atv.calibration.step_log import StepLog
from atv.calibration.unchanged_inputs import unchanged
from atv.criteria import Criterion, PoolStatistics, Pruned
from atv.model.lvlm import LVLM
from atv.model.offload import is_offloaded
from atv.model.targets import Target
from atv.patterns import Pattern
from atv.plugins import ContractError, Plugin
from atv.refinement import BlockReconstruction, Reconstruction, Refinement
from atv.selection import PartedSelection, TokenSelection


@dataclass(frozen=True)
class PathwayPlan:
    """How one pathway is pruned: the plug-ins, the global sparsity, and each Linear's ``sparsities`` once allocated.

    ``measured`` is what the selection measured on the dense model, if it does so.
    """

    selection: TokenSelection
    criterion: Criterion
    pattern: Pattern
    allocation: Allocation
    sparsity: float
    sparsities: Mapping[str, float] = field(default_factory=dict)
    refine: tuple[Refinement, ...] = ()
    reconstruct: Reconstruction | None = None
    measured: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """All plug-ins, in order."""
        last = () if self.reconstruct is None else (self.reconstruct,)
        return self.selection, self.criterion, self.pattern, self.allocation, *self.refine, *last

    @property
    def following(self) -> tuple[Refinement | Reconstruction, ...]:
        """The steps after the criterion that process each Linear separately, in order."""
        step = self.reconstruct.first if isinstance(self.reconstruct, BlockReconstruction) else self.reconstruct
        return self.refine if step is None else (*self.refine, step)

    @property
    def measuring_selection(self) -> PartedSelection | None:
        """The selection, if it measures the dense model before anything is pruned, else None."""
        rule = self.selection
        return rule if isinstance(rule, PartedSelection) and rule.needs_dense else None

    @property
    def needs_gram(self) -> bool:
        return any(step.needs_gram for step in (self.criterion, *self.following))

    @property
    def needs_moments(self) -> bool:
        return any(step.needs_moments for step in (self.criterion, *self.following))

    @property
    def updates_weights(self) -> bool:
        """Whether kept weights may change."""
        return self.criterion.updates_weights or self.reconstruct is not None

    @property
    def updates_biases(self) -> bool:
        """Whether the targets' biases may change."""
        return self.reconstruct is not None and self.reconstruct.needs_bias

    def check(self, lvlm: LVLM, targets: Mapping[str, Target]) -> None:
        """Checks that every part can serve every target.

        Raises:
            ValueError: if the pattern does not fit a target or does not say where a refinement may move zeros, a target
                lacks the bias that a step would move or is an expert but a part supports only Linears, or the selection
                would run an offloaded model backward.
        """
        if self.measuring_selection is not None and is_offloaded(lvlm.model):
            class_name = type(self.selection).__name__
            raise ValueError(f"selection: {class_name} runs the dense model backward, which offloading does not allow")
        self.pattern.check(lvlm, targets, self.sparsity)
        for name, target in targets.items():
            if self.refine and self.pattern.swap_width(target.in_features) is None:
                step_name, class_name = type(self.refine[0]).__name__, type(self.pattern).__name__
                raise ValueError(
                    f"refine: {step_name} moves zeros, but the pattern {class_name} does not say where they may go "
                    "(swap_width); choose another pattern"
                )
            if self.updates_biases and getattr(target, "bias", None) is None:
                class_name = type(self.reconstruct).__name__
                raise ValueError(
                    f"reconstruct: {class_name} moves what is lost into biases, but {name} has none; name targets "
                    "that have one, or choose LeastSquares"
                )
            if not isinstance(target, nn.Linear) and (unfit_part := self._first_linears_only()):
                raise ValueError(
                    f"{unfit_part} supports only Linears, but {name} is an expert; name targets without experts"
                )

    def _first_linears_only(self) -> str | None:
        """Returns the option and class of the first plug-in whose statistics are not gathered for experts, or None."""
        if self.selection.per_linear or isinstance(self.selection, PartedSelection):
            return f"selection: {type(self.selection).__name__}"
        for step in (self.criterion, *self.following):
            if step.needs_gram or step.needs_moments or (step is self.criterion and self.criterion.needs_gradient):
                return f"{step.option}: {type(step).__name__}"
        if isinstance(self.reconstruct, BlockReconstruction):
            return f"reconstruct: {type(self.reconstruct).__name__}"
        return f"allocation: {type(self.allocation).__name__}" if self.allocation.needs_dense else None

    def with_sparsities(self, targets: Mapping[str, Target], dense: DenseStatistics) -> "PathwayPlan":
        """Returns the plan with the sparsity of every Linear.

        Raises:
            ValueError: if the allocation leaves out a Linear, returns a sparsity outside [0, 1], or misses the mean.
        """
        sparsities = allocated(self.allocation, targets, self.sparsity, dense)
        # Counts are rounded down, so binary rounding noise could lower a row's count by one.
        return replace(self, sparsities={name: round(sparsities[name], 9) for name in targets})

    def prune(
        self, weights: Mapping[str, Tensor], pools: Mapping[str, PoolStatistics], log: StepLog | None = None
    ) -> dict[str, Pruned]:
        """Prunes the targets of a block, each separately or, if the pattern is joint, with masks decided together.

        The duration and the error of each step are added to ``log``, if given.
        """
        log = log or StepLog()
        masks: dict[str, Tensor] = {}
        if self.pattern.joint:
            with unchanged(self.criterion, "score", weights=weights, pools=pools):
                scores = {name: self.criterion.checked_score(weight, pools[name]) for name, weight in weights.items()}
            masks = self.pattern.checked_masks(scores, self.sparsities)
        pruned: dict[str, Pruned] = {}
        for name, weight in weights.items():
            try:
                pruned[name] = self._prune_target(name, weight, pools[name], masks.get(name), log)
            except ContractError as error:
                raise ContractError(f"{error} ({name})") from error
            except ValueError as error:
                raise ValueError(f"{error} ({name})") from error
        return pruned

    def _prune_target(
        self, name: str, weight: Tensor, pool: PoolStatistics, mask: Tensor | None, log: StepLog
    ) -> Pruned:
        """Applies the criterion and every step after it to a target's weight (out, in)."""
        method = "prune" if self.criterion.updates_weights else "score"
        with log.timed("criterion"), unchanged(self.criterion, method, weight=weight, pool=pool):
            pruned = self.criterion.prune(weight, pool, self.pattern, self.sparsities[name], mask)
            check_finite(self.criterion, weight, pruned)
        if self.following:
            log.record_error("criterion", weight, pruned, pool)
        for index, step in enumerate(self.following, start=1):
            # Several refinements are distinguished by their positions.
            label = f"refine {index}" if len(self.refine) > 1 and index <= len(self.refine) else step.option
            with log.timed(label):
                pruned = self._apply_step(step, weight, pruned.mask, pool)
            log.record_error(label, weight, pruned, pool)
        return pruned

    def _apply_step(
        self, step: Refinement | Reconstruction, weight: Tensor, mask: Tensor, pool: PoolStatistics
    ) -> Pruned:
        """Applies one step after the criterion to a dense weight and its mask, both (out, in)."""
        if not isinstance(step, Refinement):
            return reconstructed(step, weight, mask, pool)
        width = self.pattern.swap_width(weight.shape[1])
        assert width is not None
        return Pruned(refined(step, weight, mask, pool, width))
