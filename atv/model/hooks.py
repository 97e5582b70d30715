"""Observes what modules read and return while a model runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def first_output(output: Any) -> Tensor:
    """Returns a module's output, or the first of several: hidden states, before attention weights or a cache."""
    return output if isinstance(output, Tensor) else output[0]


def token_states(hidden: Tensor, shape: torch.Size, block: str) -> Tensor:
    """Returns a block's input or output with one vector per token: (batch, length, hidden).

    Decoders with several residual streams pass on (batch, length, streams, width) or (streams, batch, length, width).
    A token's streams are then concatenated, so that drift covers all of them together.

    Args:
        hidden: the block's input or output as it is.
        shape: (batch, length) of the forward's tokens.
        block: name of the block, for the message.

    Raises:
        ValueError: if the tokens are in neither position, or could be in both.
    """
    if hidden.dim() == 3 and hidden.shape[:2] == shape:
        return hidden
    tokens_lead, streams_lead = hidden.shape[:2] == shape, hidden.shape[1:3] == shape
    if hidden.dim() == 4 and tokens_lead != streams_lead:
        return (hidden if tokens_lead else hidden.movedim(0, 2)).flatten(2)
    raise ValueError(
        f"calibration: the hidden states of block {block} are {tuple(hidden.shape)}; expected {(*shape, 'width')} for "
        f"{shape[0]} x {shape[1]} tokens, with any residual streams in front or before the width"
    )


@contextmanager
def watching(linears: Mapping[str, nn.Linear], see: Callable[[str, Tensor, Tensor], None]) -> Iterator[None]:
    """Calls ``see`` with the name, the input (..., in) and the output (..., out) of every Linear that runs."""

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, args, output: see(name, args[0], output)

    with ExitStack() as hooks:
        for name, linear in linears.items():
            hooks.enter_context(linear.register_forward_hook(hook(name)))
        yield


@contextmanager
def differentiable_outputs(root: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Yields outputs of ``root``'s modules by name, in call order, with gradients; its weights get none."""
    outputs: dict[str, Tensor] = {}

    def record(name: str, module: nn.Module, args: Any, output: Any) -> None:
        states = first_output(output)
        # The first output depends on nothing with a gradient, and starts the graph.
        outputs[name] = states if states.requires_grad else states.requires_grad_()

    trainable = [parameter for parameter in root.parameters() if parameter.requires_grad]
    with ExitStack() as undo, torch.inference_mode(False), torch.enable_grad():
        for parameter in trainable:
            undo.callback(parameter.requires_grad_, True)
            parameter.requires_grad_(False)
        for name, module in modules.items():
            undo.enter_context(module.register_forward_hook(partial(record, name)))
        yield outputs
