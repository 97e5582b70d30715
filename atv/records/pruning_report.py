"""``report.json`` and its masks: the settings of a pruning run, its measurements per block, and the sparsity reached.

Only this module writes the file and reads it as a whole. A pruning run creates it, saving the model adds the rows of
its targets, evaluation adds scores, and fine-tuning adds how the kept weights were trained.
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
# Incremented when code that reads the previous schema can no longer read a new file.
SCHEMA = 1
# The pathway of an ordinary model, in which all tokens use the same weights.
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


def _with_both_modalities(tokens: dict[str, int]) -> dict[str, int]:
    if missing := [modality for modality in ("text", "visual") if modality not in tokens]:
        raise ValueError(f"it has no {missing[0]}")
    return tokens


ByModality = Annotated[dict[str, Count], AfterValidator(_with_both_modalities)]


@dataclass(frozen=True)
class BlockReport:
    """The measurements of a run on one decoder block.

    Attributes:
        mean_drift: Mean over all visual tokens of the calibration set.
        tokens: Number of the calibration set's tokens, by modality.
        selected: Number of tokens in the pool, by pathway and modality.
        norms: Root mean square activation, by modality and site (the first Linear that reads an input).
        seconds: Wall-clock time.
        experts: By pathway and layer of experts, how many of the pool's ``tokens`` each expert received, and which
            experts were ``starved``: received too few for statistics of their own.
        step_seconds: By pathway, the seconds of the criterion and of each step after it (refine, reconstruct, train;
            "refine 1", "refine 2" if there are several). They are part of ``seconds``.
        step_errors: Likewise, the share of a Linear's squared output over the pool that is lost after the step, mean
            over the block's Linears; only if a step followed the criterion and X^T X was gathered. A block that was
            trained also has "block" and "trained block": the share of its own output that is lost before and after.
        pool_weights: By pathway, the weights that a rule of several parts gave to its parts, mean over the Linears.
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
    """The sparsity allocated to each target, by pathway and name.

    ``dense_seconds`` is the time that measuring the dense model took before the first block; 0 if nothing was measured.
    """

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
    """The model before pruning: its name, revision (None outside of the hub's cache), class, and type in its config."""

    model: str
    revision: str | None
    kind: Annotated[str, Field(alias="class")]
    type: str

    def as_json(self) -> dict[str, Any]:
        return {"model": self.model, "revision": self.revision, "class": self.kind, "type": self.type}


@dataclass(frozen=True)
class TargetReport:
    """A pruned Linear or expert in the saved model: its block, shape (out, in) and sparsity.

    ``kept_zeros`` counts the weights that the mask keeps and that are zero nevertheless.
    """

    block: Count
    shape: list[Count]
    sparsity: Share
    kept_zeros: Count


@dataclass(frozen=True)
class ScoreRow:
    """The saved model's score in a benchmark, with the number of questions (groups) and the benchmark's version.

    ``kept`` is the retention of the dense model's score: ``value``, ``low`` and ``high`` in percent; None if unknown.
    """

    score: Finite
    of: Count
    version: str
    kept: dict[str, Number] | None = None


@dataclass(frozen=True)
class PruningReport:
    """The outcome of a pruning run.

    ``masks`` is empty if pathways are decoupled; ``pathways`` then has one set of masks each.
    ``waiting_bytes_per_token`` is the memory that a waiting sample's forward held at the first block: the hidden state
    (which an offloaded model moves) and what the model's own frames refer to (which nothing can move). ``left_dense``
    maps the parameters of the decoder's blocks that atv does not prune, except norms, to the class of their module:
    routers, convolutions, biases of experts, Linears that read no token of the decoder. ``calibration`` identifies the
    samples of the batches. ``updates_weights`` says that the criterion or a later step may have changed kept weights,
    ``updates_biases`` that biases of targets changed. If the pattern removes whole structures, ``smaller`` maps each
    field of the decoder's config that changes in the saved model to its old and new values; masks and the shapes of
    ``targets`` remain those of the model before removal. ``targets`` has a row for each mask once the model is saved,
    ``scores`` is filled when scores are added to its card, and ``finetuning`` says how the kept weights were trained
    afterwards.
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
        """The fields that are smaller in the saved model's config, in words: "intermediate_size 1536 -> 1088"."""
        return ", ".join(f"{name} {before} -> {after}" for name, (before, after) in self.smaller.items())

    @property
    def plans(self) -> dict[str, dict[str, Any]]:
        """By pathway: selection, criterion, pattern and allocation with their arguments, and the target sparsity."""
        return self.settings["plans"]

    def as_dict(self) -> dict[str, Any]:
        """Returns the content of report.json; masks are written to separate files."""
        sparsity: dict[str, Any] = {"target_linears": self.sparsity, "whole_model": self.whole_model_sparsity}
        if self.pathways:
            sparsity = {name: {"target_linears": pathway.sparsity} for name, pathway in self.pathways.items()}
        rows_by_field: dict[str, dict[str, Any]] = {"targets": self.targets, "scores": self.scores}
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
            "blocks": [_block_entry(block) for block in self.blocks],
            **({"base": self.base.as_json()} if self.base else {}),
            "git": self.git,
            "hardware": self.hardware,
            "updates_weights": self.updates_weights,
            **({"updates_biases": True} if self.updates_biases else {}),
            **({"smaller": self.smaller} if self.smaller else {}),
            **{key: {name: asdict(row) for name, row in rows.items()} for key, rows in rows_by_field.items() if rows},
            **({"finetuning": dict(self.finetuning)} if self.finetuning else {}),
        }

    def write(self, folder: Path) -> None:
        """Writes report.json atomically."""
        write_json(folder / REPORT, self.as_dict())

    def write_masks(self, folder: Path) -> None:
        """Writes masks.safetensors or, if pathways are decoupled, one file per pathway."""
        for name, masks in self._masks().items():
            save_masks(folder / masks_file(name), masks)

    def _masks(self) -> dict[str, PackedMasks]:
        return {name: pathway.masks for name, pathway in self.pathways.items()} or {BOTH: self.masks}

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads the report and masks in a folder, of this or an earlier version.

        Raises:
            ValueError: if the report is not valid JSON, has a later schema or lacks a required field, or if masks are
                missing or have a different format.
        """
        content = read_json(folder / REPORT, SCHEMA)
        if missing_fields := [
            name for name in ("settings", "blocks", "parameters", "seed", "versions") if name not in content
        ]:
            raise ValueError(f"{folder / REPORT} has no {', '.join(missing_fields)}; `atv prune` writes them")
        report = typed(cls, content | {"masks": PackedMasks(), "pathways": {}}, folder / REPORT)
        masks = {name: load_masks(folder / masks_file(name)) for name in report.plans}
        decoupled = {name: PathwayReport(packed) for name, packed in masks.items() if name != BOTH}
        return replace(report, masks=masks.get(BOTH, PackedMasks()), pathways=decoupled)


def _block_entry(block: BlockReport) -> dict[str, Any]:
    """Returns a block's entry in report.json, without the optional fields that are empty."""
    entry = asdict(block)
    optional = ("step_seconds", "step_errors", "pool_weights")
    return {key: value for key, value in entry.items() if value or key not in optional}


def masks_file(pathway: str) -> str:
    """Returns the name of the file with a pathway's masks."""
    return MASKS if pathway == BOTH else f"masks.{pathway}.safetensors"
