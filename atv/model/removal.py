"""A model with structures removed: what remains of its config, its names and its tensors."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from atv.data.wording import short
from atv.model.structures import decoder_config


class Removal(ABC):
    """What remains of a model after a removal; names and tensors are the dense model's unless stated otherwise."""

    @property
    @abstractmethod
    def config_fields(self) -> dict[str, Any]:
        """Fields of the decoder's config, with their values in the smaller model."""

    @property
    def counted_fields(self) -> Iterable[str]:
        """Those of the fields that count what was removed."""
        return self.config_fields

    @abstractmethod
    def kept_along(self, name: str, dims: int) -> tuple[int, Tensor] | None:
        """Returns the dimension in which a tensor of ``dims`` shrinks, and the kept indices; None if it stays whole."""

    def changes(self, config: PreTrainedConfig) -> dict[str, list[int]]:
        """Returns field that counts what was removed -> its values in this model's config and in the smaller one's."""
        decoder, smaller = decoder_config(config), self.config_fields
        return {name: [int(getattr(decoder, name)), smaller[name]] for name in self.counted_fields}

    def is_done(self, config: PreTrainedConfig) -> bool:
        """Whether this is already the smaller model's config."""
        return all(current == smaller for current, smaller in self.changes(config).values())

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        """Returns, for remaining modules or tensors, name in the smaller model -> name in the dense one."""
        return {name: name for name in names}

    def shrunk_tensor(self, name: str, tensor: Tensor) -> Tensor:
        """Returns what remains of a parameter or buffer, or of a mask that is named like its weight."""
        if (selection := self.kept_along(name, tensor.dim())) is None:
            return tensor
        dim, index = selection
        return tensor.index_select(dim, index.to(tensor.device))

    def shrunk(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns what remains of tensors, by the smaller model's names."""
        return {
            smaller_name: self.shrunk_tensor(dense_name, tensors[dense_name])
            for smaller_name, dense_name in self.renamed(tensors).items()
        }

    def shrunk_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns what remains of masks, by the smaller model's names: all kept, except zero weights that remain."""
        return {
            smaller_name: self.shrunk_tensor(f"{dense_name}.weight", masks[dense_name])
            for smaller_name, dense_name in self.renamed(masks).items()
        }

    def smaller_config(self, dense: PreTrainedConfig) -> PreTrainedConfig:
        """Returns the config of the smaller model."""
        return resized(dense, self.config_fields)

    def smaller_model(self, dense: PreTrainedModel) -> PreTrainedModel:
        """Returns the smaller model, for saving: it shares unshrunk tensors, and unsaved buffers stay empty."""
        model: Any = self._skeleton(dense)
        model.load_state_dict(self.shrunk(dense.state_dict()), assign=True)
        model.tie_weights()
        model.generation_config = dense.generation_config
        # transformers needs it to give tensors the names and layouts that the checkpoint had.
        model._weight_conversions = getattr(dense, "_weight_conversions", None)
        return model

    def put_back(self, dense: nn.Module, smaller: Mapping[str, Tensor]) -> None:
        """Writes the tensors of the smaller model to their places in the dense one; all else stays unchanged."""
        tensors = dense.state_dict()
        for smaller_name, dense_name in self.renamed(tensors).items():
            if (selection := self.kept_along(dense_name, tensors[dense_name].dim())) is None:
                tensors[dense_name].copy_(smaller[smaller_name])
            else:
                tensors[dense_name].index_copy_(
                    selection[0],
                    selection[1].to(tensors[dense_name].device),
                    smaller[smaller_name].to(tensors[dense_name]),
                )

    def check(self, dense: PreTrainedModel) -> None:
        """Checks that the class, given the smaller sizes, makes tensors of the remaining shapes.

        Raises:
            ValueError: if it does not, or makes no model at all.
        """
        model_class, sizes = (
            type(dense).__name__,
            ", ".join(f"{name} {value}" for name, value in self.config_fields.items()),
        )
        try:
            built_shapes = {name: list(value.shape) for name, value in self._skeleton(dense).state_dict().items()}
        except Exception as error:  # Each class checks its config in its own way.
            raise ValueError(f"pattern: cannot build a {model_class} with {sizes}: {short(error)}") from error
        remaining_tensors = self.shrunk({name: value.to("meta") for name, value in dense.state_dict().items()})
        for name, value in remaining_tensors.items():
            if built_shapes.get(name) != (shape := list(value.shape)):
                raise ValueError(
                    f"pattern: a {model_class} with {sizes} has {name} of shape {built_shapes.get(name)}, "
                    f"but {shape} remains"
                )

    def _skeleton(self, dense: PreTrainedModel) -> PreTrainedModel:
        with torch.device("meta"):
            return type(dense)(self.smaller_config(dense.config)).eval()


def resized(config: PreTrainedConfig, fields: Mapping[str, Any]) -> PreTrainedConfig:
    """Returns a model's config with new values in its decoder's, checked as on loading from a file."""
    new_config = copy.deepcopy(config)
    for name, value in fields.items():
        setattr(decoder_config(new_config), name, value)
    type(new_config).from_dict(new_config.to_dict())
    return new_config
