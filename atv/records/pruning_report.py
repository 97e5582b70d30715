"""What a pruning run leaves behind: masks, what every block showed, and the sparsity that was reached."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from atv.records.masks import PackedMasks

SCHEMA = 1


@dataclass(frozen=True)
class BlockReport:
    """One decoder block.

    ``mean_drift`` is over all visual tokens of the calibration set; ``tokens`` counts the set's tokens by modality;
    ``selected`` counts the pool's tokens by pathway and modality; ``norms`` is the root mean square activation by
    modality and site (the first Linear that reads an input); ``seconds`` is wall-clock time; ``experts`` has,
    by pathway and layer of experts, the pool's ``tokens`` that each expert was given, and which experts were
    ``starved``: given too few for statistics of their own.
    """

    block: int
    mean_drift: float
    tokens: dict[str, int]
    selected: dict[str, dict[str, int]]
    norms: dict[str, dict[str, float]]
    seconds: float
    experts: dict[str, dict[str, dict[str, list[int]]]] = field(default_factory=dict)


@dataclass(frozen=True)
class AllocationReport:
    """What each target is to lose, by pathway and name; ``dense_seconds`` is what measuring the dense model for it
    took before the first block, 0 where nothing was measured."""

    sparsities: dict[str, dict[str, float]]
    dense_seconds: float = 0.0


@dataclass(frozen=True)
class PathwayReport:
    """The masks of one pathway: Linear name -> bool (out, in), True = kept."""

    masks: PackedMasks

    @property
    def sparsity(self) -> float:
        """Fraction of the target Linears' weights that were pruned."""
        return self.masks.sparsity


@dataclass(frozen=True)
class PruningReport:
    """The outcome of a run. ``masks`` is empty where pathways are decoupled: ``pathways`` has one set each.

    ``waiting_bytes_per_token`` is the memory that a waiting sample's forward held at the first block, the hidden state
    (which an offloaded model moves) and what the model's own frames refer to (which nothing can move).
    ``left_dense`` names the parameters of the decoder's blocks that atv does not prune, norms excepted, and the class
    of module that holds each: routers, convolutions, biases of experts, Linears that read no token of the decoder.
    ``calibration`` says which samples the batches are, as the caller gave it.
    """

    masks: PackedMasks
    blocks: list[BlockReport]
    parameters: int
    seed: int
    settings: dict[str, Any]
    versions: dict[str, str]
    pathways: dict[str, PathwayReport] = field(default_factory=dict)
    allocation: AllocationReport = field(default_factory=lambda: AllocationReport({}))
    waiting_bytes_per_token: float | None = None
    left_dense: dict[str, str] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sparsity(self) -> float:
        """Fraction of the *target Linears'* weights that were pruned; of decoupled pathways, the mean."""
        if self.pathways:
            return sum(pathway.sparsity for pathway in self.pathways.values()) / len(self.pathways)
        return self.masks.sparsity

    @property
    def whole_model_sparsity(self) -> float:
        """Fraction of *all* parameters of the model, embeddings and vision tower included, that were pruned."""
        return self.masks.pruned / self.parameters

    def as_dict(self) -> dict[str, Any]:
        """What report.json holds; masks are files of their own."""
        sparsity: dict[str, Any] = {"target_linears": self.sparsity, "whole_model": self.whole_model_sparsity}
        if self.pathways:
            sparsity = {name: {"target_linears": pathway.sparsity} for name, pathway in self.pathways.items()}
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
            "blocks": [asdict(block) for block in self.blocks],
        }
