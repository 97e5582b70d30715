"""Checks that plug-ins do not change the tensors they are given, which are the run's own and not copies."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass

from torch import Tensor

from atv.plugins import ContractError, Plugin


@contextmanager
def unchanged(plugin: Plugin, method: str, **given: object) -> Iterator[None]:
    """Checks that the body of the with statement, a call of a plug-in's method, writes to nothing in ``given``.

    Args:
        plugin: the plug-in.
        method: the name of the method that is called.
        given: its arguments by name: tensors, or dataclasses and mappings that hold tensors.

    Raises:
        ContractError: naming the class, its method and the changed tensor.
    """
    tensors = [(name, tensor, tensor._version) for name, tensor in _tensors(given)]
    yield
    for name, tensor, version in tensors:
        if tensor._version != version:
            raise ContractError(
                f"{plugin.option}: {type(plugin).__name__}.{method} changes its input {name} in place; "
                "work on a copy (.clone())"
            )


def _tensors(arguments: Mapping[str, object]) -> Iterator[tuple[str, Tensor]]:
    for name, value in arguments.items():
        # PyTorch counts the versions of every tensor (a view shares its base's count), except in inference mode.
        if isinstance(value, Tensor) and not value.is_inference():
            yield name, value
        elif isinstance(value, Mapping):
            yield from _tensors({f"{name}[{key!r}]": item for key, item in value.items()})
        elif is_dataclass(value):
            # Not only its fields: properties that it has cached are shared as well.
            yield from _tensors({f"{name}.{key}": item for key, item in vars(value).items()})
