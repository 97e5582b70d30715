"""A model with structures taken out: what stays of its config, its names and its tensors."""

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
    """What stays of a model once structures were taken out; names and tensors are the dense model's unless said."""

    @property
    @abstractmethod
    def config_fields(self) -> dict[str, Any]:
        """What fields of the decoder's config are in the smaller model."""

    @property
    def counted_fields(self) -> Iterable[str]:
        """Those of the fields that count what was taken out."""
        return self.config_fields

    @abstractmethod
    def kept_along(self, name: str, dims: int) -> tuple[int, Tensor] | None:
        """The dimension along which a tensor of so many shrinks, and the indices kept; None where it stays whole."""

    def changes(self, config: PreTrainedConfig) -> dict[str, list[int]]:
        """Field that counts what was taken out -> what it is in this model's config, and in the smaller one's."""
        own, smaller = decoder_config(config), self.config_fields
        return {name: [int(getattr(own, name)), smaller[name]] for name in self.counted_fields}

    def is_done(self, config: PreTrainedConfig) -> bool:
        """Whether this is the smaller model's config already."""
        return all(here == smaller for here, smaller in self.changes(config).values())

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        """Of modules or tensors that stay: name in the smaller model -> name in the dense one."""
        return {name: name for name in names}

    def shrunk_tensor(self, name: str, tensor: Tensor) -> Tensor:
        """What stays of a parameter or buffer, or of a mask that is named as its weight."""
        if (kept := self.kept_along(name, tensor.dim())) is None:
            return tensor
        dim, index = kept
        return tensor.index_select(dim, index.to(tensor.device))

    def shrunk(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What stays of tensors, by the smaller model's names."""
        return {new: self.shrunk_tensor(old, tensors[old]) for new, old in self.renamed(tensors).items()}

    def shrunk_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What stays of masks, by the smaller model's names: all kept, but for what stays although it is zero."""
        return {new: self.shrunk_tensor(f"{old}.weight", masks[old]) for new, old in self.renamed(masks).items()}

    def smaller_config(self, dense: PreTrainedConfig) -> PreTrainedConfig:
        """The config of the smaller model."""
        return resized(dense, self.config_fields)

    def smaller_model(self, dense: PreTrainedModel) -> PreTrainedModel:
        """The smaller model, for saving: it shares what did not shrink, and buffers that are not saved stay empty."""
        made: Any = self._skeleton(dense)
        made.load_state_dict(self.shrunk(dense.state_dict()), assign=True)
        made.tie_weights()
        made.generation_config = dense.generation_config
        # By it transformers gives tensors the names and forms that the checkpoint had.
        made._weight_conversions = getattr(dense, "_weight_conversions", None)
        return made

    def put_back(self, dense: nn.Module, smaller: Mapping[str, Tensor]) -> None:
        """Writes the tensors of the smaller model to their places in the dense one; all else stays as it is."""
        own = dense.state_dict()
        for new, old in self.renamed(own).items():
            if (kept := self.kept_along(old, own[old].dim())) is None:
                own[old].copy_(smaller[new])
            else:
                own[old].index_copy_(kept[0], kept[1].to(own[old].device), smaller[new].to(own[old]))

    def check(self, dense: PreTrainedModel) -> None:
        """Whether the class, given the smaller sizes, makes tensors of the shapes that are left.

        Raises:
            ValueError: where it does not, or makes none at all.
        """
        kind, sizes = type(dense).__name__, ", ".join(f"{name} {value}" for name, value in self.config_fields.items())
        try:
            made = {name: list(value.shape) for name, value in self._skeleton(dense).state_dict().items()}
        except Exception as error:  # Classes check their configs each in its own way.
            raise ValueError(f"pattern: no {kind} with {sizes} can be made: {short(error)}") from error
        left = self.shrunk({name: value.to("meta") for name, value in dense.state_dict().items()})
        for name, value in left.items():
            if made.get(name) != (shrunk := list(value.shape)):
                raise ValueError(
                    f"pattern: a {kind} with {sizes} has {name} of shape {made.get(name)}, what is left is {shrunk}"
                )

    def _skeleton(self, dense: PreTrainedModel) -> PreTrainedModel:
        with torch.device("meta"):
            return type(dense)(self.smaller_config(dense.config)).eval()


def resized(config: PreTrainedConfig, fields: Mapping[str, Any]) -> PreTrainedConfig:
    """A model's config with other values in its decoder's, checked as loading it from a file does."""
    made = copy.deepcopy(config)
    for name, value in fields.items():
        setattr(decoder_config(made), name, value)
    type(made).from_dict(made.to_dict())
    return made
