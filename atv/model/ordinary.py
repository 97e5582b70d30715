"""Checks that a model in memory is ordinary: its Linears are its own, and its modules run as they are written."""

from torch import nn
from transformers import PreTrainedModel

from atv.model.offload import is_offloaded


def require_ordinary(model: nn.Module) -> None:
    """Checks that a model can be calibrated and pruned in place.

    Raises:
        ValueError: if it is a wrapper around a model, has adapters, is compiled, or has no weights.
    """
    model_class = type(model).__name__
    if hasattr(model, "_orig_mod") or any(module._compiled_call_impl for module in model.modules()):
        raise ValueError(
            f"model: {model_class} is compiled, so it cannot be paused at its blocks; compile it afterwards"
        )
    require_no_adapters(model)
    if not isinstance(model, PreTrainedModel):
        raise ValueError(f"model: expected a model of transformers, got {model_class}; pass the LVLM inside it")
    meta_weight = next((name for name, weight in model.named_parameters() if weight.is_meta), None)
    if meta_weight is not None and not is_offloaded(model):
        raise ValueError(f"model: {meta_weight} is on the meta device, without values; load the weights")


def require_no_adapters(model: nn.Module) -> None:
    """Checks that no module carries an adapter: transformers would save adapters alone, without the model.

    Raises:
        ValueError: if one does; the message names the module.
    """
    adapted_module = next((name for name, module in model.named_modules() if hasattr(module, "base_layer")), None)
    if adapted_module is not None:
        raise ValueError(f"model: {adapted_module} carries an adapter (peft); merge it first (merge_and_unload)")
