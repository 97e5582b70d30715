"""``report.json`` and the masks beside it: what a pruning run was made from, what every block showed, what was reached.

This alone writes the file and reads it whole. A run leaves one, saving the model adds the rows of its targets,
evaluation its scores, fine-tuning its story.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field

from atv.records.files import read_json, write_json
from atv.records.masks import PackedMasks, load_masks, save_masks
from atv.records.typed import ANY_TYPE, Count, Finite, Number, Share, holding, typed

REPORT, MASKS = "report.json", "masks.safetensors"
# Raised when a file that is written can no longer be read by what read the last one.
SCHEMA = 1
# The pathway of an ordinary model, whose tokens all take the same weights.
BOTH = "both"


@dataclass(frozen=True)
class _Part:
    kind: Annotated[str, Field(alias="class")]


@dataclass(frozen=True)
class _Plan:
    selection: _Part
    criterion: _Part
    pattern: _Part
    allocation: _Part
    sparsity: Share | None


@dataclass(frozen=True)
class _Settings:
    plans: Annotated[dict[str, _Plan], Field(min_length=1)]
    propagate: bool


@dataclass(frozen=True)
class _Calibration:
    data: dict[str, Any] = field(default_factory=dict)
    ids: list[Any] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)


def _of_both(tokens: dict[str, int]) -> dict[str, int]:
    if missing := [modality for modality in ("text", "visual") if modality not in tokens]:
        raise ValueError(f"it has no {missing[0]}")
    return tokens


ByModality = Annotated[dict[str, Count], AfterValidator(_of_both)]


@dataclass(frozen=True)
class BlockReport:
    """What a run showed of one decoder block.

    ``mean_drift`` is over all visual tokens of the calibration set; ``tokens`` counts the set's tokens by modality;
    ``selected`` counts the pool's tokens by pathway and modality; ``norms`` is the root mean square activation by
    modality and site (the first Linear that reads an input); ``seconds`` is wall-clock time; ``experts`` has,
    by pathway and layer of experts, the pool's ``tokens`` that each expert was given, and which experts were
    ``starved``: given too few for statistics of their own; ``step_seconds`` has, by pathway, those of the criterion
    and of what followed it (refine, reconstruct, train; "refine 1", "refine 2" where there are several), which are a
    part of ``seconds``; ``step_errors``, likewise, the share of a Linear's squared output over the pool that is lost
    after the step, mean over the block's Linears: only where something followed the criterion and X^T X was gathered;
    of a block that was trained also "block" and "trained block", the share of its own output that is lost before and
    after;
    ``pool_weights``, by pathway, the weights that a rule of several parts gave them, mean over the block's Linears.
    """

    block: Count
    mean_drift: Number
    tokens: ByModality
    selected: Annotated[dict[str, ByModality], Field(min_length=1)]
    norms: dict[str, dict[str, Number]]
    seconds: Finite
    experts: dict[str, dict[str, dict[str, list[Count]]]] = field(default_factory=dict)
    step_seconds: dict[str, dict[str, Finite]] = field(default_factory=dict)
    step_errors: dict[str, dict[str, Number]] = field(default_factory=dict)
    pool_weights: dict[str, dict[str, Number]] = field(default_factory=dict)


@dataclass(frozen=True)
class AllocationReport:
    """What each target is to lose, by pathway and name; ``dense_seconds`` is what measuring the dense model for it
    took before the first block, 0 where nothing was measured."""

    sparsities: dict[str, dict[str, Share]]
    dense_seconds: Finite = 0.0


@dataclass(frozen=True)
class PathwayReport:
    """The masks of one pathway: Linear name -> bool (out, in), True = kept."""

    __pydantic_config__ = ANY_TYPE
    masks: PackedMasks

    @property
    def sparsity(self) -> float:
        """Fraction of the target Linears' weights that were pruned."""
        return self.masks.sparsity


@dataclass(frozen=True)
class BaseModel:
    """The model that was pruned: name and revision (None outside of the hub's cache), class, and type in its config."""

    model: str
    revision: str | None
    kind: Annotated[str, Field(alias="class")]
    type: str

    def as_json(self) -> dict[str, Any]:
        return {"model": self.model, "revision": self.revision, "class": self.kind, "type": self.type}


@dataclass(frozen=True)
class TargetReport:
    """A pruned Linear or expert in the saved model: its block, shape (out, in), share pruned, and how many of the kept
    weights are zero all the same."""

    block: Count
    shape: list[Count]
    sparsity: Share
    kept_zeros: Count


@dataclass(frozen=True)
class ScoreRow:
    """A benchmark's score of the saved model, out of how many questions (groups), the benchmark's version, and what was
    kept of the dense model's: ``value``, ``low`` and ``high`` in percent, None where that is not known."""

    score: Finite
    of: Count
    version: str
    kept: dict[str, Number] | None = None


@dataclass(frozen=True)
class PruningReport:
    """The outcome of a run. ``masks`` is empty where pathways are decoupled: ``pathways`` has one set each.

    ``waiting_bytes_per_token`` is the memory that a waiting sample's forward held at the first block, the hidden state
    (which an offloaded model moves) and what the model's own frames refer to (which nothing can move).
    ``left_dense`` names the parameters of the decoder's blocks that atv does not prune, norms excepted, and the class
    of module that holds each: routers, convolutions, biases of experts, Linears that read no token of the decoder.
    ``calibration`` says which samples the batches are. ``updates_weights`` says that the criterion, or what followed
    it, may have changed kept weights, ``updates_biases`` that biases of targets moved. ``smaller`` has, where the
    pattern takes structures out whole, each field of the decoder's config that changes in the saved model: what it was
    and what it is. Masks, and the shapes of ``targets``, are then still those of the model that was pruned. ``targets``
    has a row for each mask once the model was saved, ``scores`` once they were added to its card, ``finetuning`` how
    the kept weights were trained afterwards.
    """

    __pydantic_config__ = ANY_TYPE
    masks: PackedMasks
    blocks: list[BlockReport]
    parameters: Count
    seed: Annotated[int, Field(strict=True)]
    settings: Annotated[dict[str, Any], holding(_Settings)]
    versions: dict[str, str]
    pathways: dict[str, PathwayReport] = field(default_factory=dict)
    allocation: AllocationReport = field(default_factory=lambda: AllocationReport({}))
    waiting_bytes_per_token: Number | None = None
    left_dense: dict[str, str] = field(default_factory=dict)
    calibration: Annotated[Mapping[str, Any], holding(_Calibration)] = field(default_factory=dict)
    base: BaseModel | None = None
    git: str = "unknown"
    hardware: str = "unknown"
    updates_weights: bool = False
    updates_biases: bool = False
    smaller: dict[str, Annotated[list[Count], Field(min_length=2, max_length=2)]] = field(default_factory=dict)
    targets: dict[str, TargetReport] = field(default_factory=dict)
    scores: dict[str, ScoreRow] = field(default_factory=dict)
    finetuning: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sparsity(self) -> float:
        """Fraction of the target Linears' weights that were pruned."""
        return self.masks.sparsity

    @property
    def whole_model_sparsity(self) -> float:
        """Fraction of *all* parameters of the model, embeddings and vision tower included, that were pruned."""
        return self.masks.pruned / self.parameters

    @property
    def sizes(self) -> str:
        """What is smaller in the saved model's config, in words: "intermediate_size 1536 -> 1088"."""
        return ", ".join(f"{name} {before} -> {after}" for name, (before, after) in self.smaller.items())

    @property
    def plans(self) -> dict[str, dict[str, Any]]:
        """Pathway -> selection, criterion, pattern and allocation with their arguments, and the sparsity asked for."""
        return self.settings["plans"]

    def as_dict(self) -> dict[str, Any]:
        """What report.json holds; masks are files of their own."""
        sparsity: dict[str, Any] = {"target_linears": self.sparsity, "whole_model": self.whole_model_sparsity}
        if self.pathways:
            sparsity = {name: {"target_linears": pathway.sparsity} for name, pathway in self.pathways.items()}
        later: dict[str, dict[str, Any]] = {"targets": self.targets, "scores": self.scores}
        return {
            "schema": SCHEMA,
            "seed": self.seed,
            "settings": self.settings,
            "calibration": dict(self.calibration),
            "versions": self.versions,
            "parameters": self.parameters,
            "sparsity": sparsity,
            "allocation": asdict(self.allocation),
            "waiting_bytes_per_token": self.waiting_bytes_per_token,
            "left_dense": self.left_dense,
            "blocks": [_block(block) for block in self.blocks],
            **({"base": self.base.as_json()} if self.base else {}),
            "git": self.git,
            "hardware": self.hardware,
            "updates_weights": self.updates_weights,
            **({"updates_biases": True} if self.updates_biases else {}),
            **({"smaller": self.smaller} if self.smaller else {}),
            **{key: {name: asdict(row) for name, row in rows.items()} for key, rows in later.items() if rows},
            **({"finetuning": dict(self.finetuning)} if self.finetuning else {}),
        }

    def write(self, folder: Path) -> None:
        """Writes report.json, atomically."""
        write_json(folder / REPORT, self.as_dict())

    def write_masks(self, folder: Path) -> None:
        """Writes masks.safetensors, or where pathways are decoupled a file a pathway."""
        for name, masks in self._masks().items():
            save_masks(folder / masks_file(name), masks)

    def _masks(self) -> dict[str, PackedMasks]:
        return {name: pathway.masks for name, pathway in self.pathways.items()} or {BOTH: self.masks}

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What a folder holds, of this version or an earlier one.

        Raises:
            ValueError: for a report that is no JSON, of a later schema, or without what every one has; masks that are
                not there or of another format.
        """
        content = read_json(folder / REPORT, SCHEMA)
        if absent := [name for name in ("settings", "blocks", "parameters", "seed", "versions") if name not in content]:
            raise ValueError(f"{folder / REPORT} has no {', '.join(absent)}; `atv prune` writes them")
        report = typed(cls, content | {"masks": PackedMasks(), "pathways": {}}, folder / REPORT)
        masks = {name: load_masks(folder / masks_file(name)) for name in report.plans}
        decoupled = {name: PathwayReport(packed) for name, packed in masks.items() if name != BOTH}
        return replace(report, masks=masks.get(BOTH, PackedMasks()), pathways=decoupled)


def _block(block: BlockReport) -> dict[str, Any]:
    """A block as report.json has it; what a run has nothing to tell of is left out."""
    told = asdict(block)
    optional = ("step_seconds", "step_errors", "pool_weights")
    return {key: value for key, value in told.items() if value or key not in optional}


def masks_file(pathway: str) -> str:
    """What the file of a pathway's masks is called."""
    return MASKS if pathway == BOTH else f"masks.{pathway}.safetensors"
