"""Whether a model in memory is an ordinary one, whose Linears are its own and whose modules run as they are written."""

from torch import nn
from transformers import PreTrainedModel

from atv.model.offload import is_offloaded


def require_ordinary(model: nn.Module) -> None:
    """Checks that a model can be calibrated and pruned where it is.

    Raises:
        ValueError: for a wrapper around a model, one with adapters, a compiled one, and one without weights.
    """
    kind = type(model).__name__
    if hasattr(model, "_orig_mod") or any(module._compiled_call_impl for module in model.modules()):
        raise ValueError(f"model: {kind} is compiled, and its blocks cannot be stopped at; compile it afterwards")
    require_no_adapters(model)
    if not isinstance(model, PreTrainedModel):
        raise ValueError(f"model: expected a model of transformers, got {kind}; give the LVLM inside it")
    empty = next((name for name, weight in model.named_parameters() if weight.is_meta), None)
    if empty is not None and not is_offloaded(model):
        raise ValueError(f"model: {empty} is on the meta device, without values; load the weights")


def require_no_adapters(model: nn.Module) -> None:
    """Checks that no adapter lies beside the weights, which transformers would save alone, without the model.

    Raises:
        ValueError: naming the module that carries one.
    """
    carrier = next((name for name, module in model.named_modules() if hasattr(module, "base_layer")), None)
    if carrier is not None:
        raise ValueError(f"model: {carrier} carries an adapter (peft); merge it first (merge_and_unload)")
