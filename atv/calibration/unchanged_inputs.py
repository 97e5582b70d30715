"""Whether a plug-in leaves the tensors that it is given as they are: they are the run's own, no copies."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass

from torch import Tensor

from atv.plugins import ContractError, Plugin


@contextmanager
def unchanged(part: Plugin, method: str, **given: object) -> Iterator[None]:
    """Checks that a call of a plug-in's method, the body of the with statement, writes into nothing it was ``given``.

    Args:
        part: the plug-in.
        method: which is called.
        given: what it is called with, by name: tensors, or dataclasses and mappings that hold some.

    Raises:
        ContractError: naming the class, its method and the tensor.
    """
    before = [(name, tensor, tensor._version) for name, tensor in _tensors(given)]
    yield
    for name, tensor, version in before:
        if tensor._version != version:
            raise ContractError(
                f"{part.option}: {type(part).__name__}.{method} changes its input {name} in place; "
                "work on a copy (.clone())"
            )


def _tensors(given: Mapping[str, object]) -> Iterator[tuple[str, Tensor]]:
    for name, value in given.items():
        # PyTorch counts the versions of every tensor, a view's with its base's, but for those of inference mode.
        if isinstance(value, Tensor) and not value.is_inference():
            yield name, value
        elif isinstance(value, Mapping):
            yield from _tensors({f"{name}[{key!r}]": each for key, each in value.items()})
        elif is_dataclass(value):
            # Not its fields alone: what it keeps of them once it was asked is shared as well.
            yield from _tensors({f"{name}.{key}": each for key, each in vars(value).items()})
