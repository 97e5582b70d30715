"""Removal of whole experts from mixtures of experts."""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from atv.model.experts import ExpertWeight, leave_out
from atv.model.lvlm import LVLM
from atv.model.offload import is_offloaded
from atv.model.removal import Removal
from atv.model.removed_structures import RemovedExperts
from atv.model.structures import MIXTURES, decoder_config, require_type
from atv.model.targets import Target
from atv.patterns.base import Pattern
from atv.patterns.counting import lowest, pruned_count


class WholeExperts(Pattern):
    """Removes the experts of each layer with the lowest total scores: floor(n * sparsity) of n experts.

    From then on, routers choose among the remaining experts. The saved model contains neither the removed experts nor
    their rows of the routers.
    """

    joint = True
    reroutes = True
    sparsity = None

    def about(self, lvlm: LVLM, targets: Mapping[str, Target]) -> dict[str, Target]:
        require_type(lvlm, "experts", MIXTURES)
        expert_weights = [name for layer in lvlm.experts for name in layer.targets()]
        if missing_targets := [name for name in expert_weights if name not in targets]:
            raise ValueError(
                f"targets: WholeExperts removes experts from all layers alike, but these targets leave "
                f"out {missing_targets[0]}"
            )
        return {name: targets[name] for name in expert_weights}

    def check(self, lvlm: LVLM, targets: Mapping[str, Target], sparsity: float) -> None:
        config = decoder_config(lvlm.model.config)
        count, experts_per_token = int(config.num_experts), int(config.num_experts_per_tok)
        kept_count = count - pruned_count(count, sparsity)
        if is_offloaded(lvlm.model):
            raise ValueError(
                "pattern: WholeExperts does not support offloaded models: a router that is fetched again would "
                "choose removed experts; load the model without offloading"
            )
        if sparsity and kept_count == count:
            raise ValueError(f"sparsity: {sparsity} of {count} experts is none; choose a higher sparsity")
        if kept_count < experts_per_token:
            raise ValueError(
                f"sparsity: {sparsity} leaves {kept_count} of {count} experts, but every token uses {experts_per_token}"
            )
        RemovedExperts.of(lvlm, {layer.name: range(kept_count) for layer in lvlm.experts}).check(lvlm.model)

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """Returns a mask that keeps everything, since a single weight is not a whole expert."""
        return torch.ones_like(score, dtype=torch.bool)

    def masks(self, scores: Mapping[str, Tensor], sparsities: Mapping[str, float]) -> dict[str, Tensor]:
        sums: dict[str, dict[int, Tensor]] = defaultdict(dict)
        for name, score in scores.items():
            layer, expert = _layer_and_expert(name)
            total = score.sum(dtype=torch.float64)
            sums[layer][expert] = sums[layer].get(expert, torch.zeros_like(total)) + total
        is_kept: dict[tuple[str, int], bool] = {}
        for layer, by_expert in sums.items():
            sparsity = next(sparsities[name] for name in scores if _layer_and_expert(name)[0] == layer)
            total = torch.stack([by_expert[expert] for expert in range(len(by_expert))])
            kept_experts = ~lowest(total, pruned_count(len(total), sparsity))
            is_kept |= {(layer, expert): bool(kept_experts[expert]) for expert in by_expert}
        return {
            name: torch.full_like(score, is_kept[_layer_and_expert(name)], dtype=torch.bool)
            for name, score in scores.items()
        }

    def settle(self, lvlm: LVLM, target: Target, mask: Tensor) -> None:
        assert isinstance(target, ExpertWeight)
        router = target.layer.router(lvlm.model)
        if router is not None and not mask.any():
            leave_out(lvlm.model.get_submodule(router), target.expert)

    def removal(self, lvlm: LVLM, masks: Mapping[str, Tensor]) -> Removal | None:
        kept_experts: dict[str, list[int]] = defaultdict(list)
        for name, mask in masks.items():
            layer, expert = _layer_and_expert(name)
            if mask.any() and expert not in kept_experts[layer]:
                kept_experts[layer].append(expert)
        return RemovedExperts.of(lvlm, {layer: sorted(experts) for layer, experts in kept_experts.items()})


def _layer_and_expert(name: str) -> tuple[str, int]:
    """Returns the layer and the index of the expert to which a target belongs."""
    layer, expert, _ = name.rsplit(".", 2)
    return layer, int(expert)
