"""What modules read and make while a model runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


def first_output(output: Any) -> Tensor:
    """What a module gives, or the first of several things: hidden states, before weights of attention or a cache."""
    return output if isinstance(output, Tensor) else output[0]


@contextmanager
def watching(linears: Mapping[str, nn.Linear], see: Callable[[str, Tensor, Tensor], None]) -> Iterator[None]:
    """Calls ``see`` with the name, the input (..., in) and the output (..., out) of every Linear that runs."""

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, args, output: see(name, args[0], output)

    with ExitStack() as hooks:
        for name, linear in linears.items():
            hooks.enter_context(linear.register_forward_hook(hook(name)))
        yield
