"""The base class of token selection rules, and what such a rule can read."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import torch
from torch import Tensor

from atv.plugins import ContractError, Plugin

T = TypeVar("T")


@dataclass(frozen=True)
class WholeSet:
    """All tokens of the calibration set, sample after sample, without padding (N tokens), on the CPU.

    ``ids`` are vocabulary indices, int64 (N,). ``visual`` and ``answer`` are bool (N,); ``answer`` is all False if the
    batches do not mark answers. ``sample`` is the index of each token's sample, int64 (N,).
    """

    ids: Tensor
    visual: Tensor
    answer: Tensor
    sample: Tensor

    @property
    def text(self) -> Tensor:
        """Every token that is not visual, bool (N,)."""
        return ~self.visual

    @cached_property
    def by_sample(self) -> tuple[Tensor, Tensor]:
        """Numbers of text tokens and of visual tokens in each sample: two tensors, int64 (samples,)."""
        text, visual = (torch.bincount(self.sample, mask.long()).long() for mask in (self.text, self.visual))
        return text, visual

    @cached_property
    def half(self) -> Tensor:
        """The half (0 or 1) of each sample, int64 (samples,).

        Halves alternate, separately among the samples with visual tokens and among those without.
        """
        pictured = self.by_sample[1] > 0
        return (torch.where(pictured, pictured.cumsum(0), (~pictured).cumsum(0)) - 1) % 2

    @cached_property
    def pictured(self) -> Tensor:
        """Tokens of the samples that have visual tokens, bool (N,)."""
        return (self.by_sample[1] > 0)[self.sample]


@dataclass(frozen=True)
class Tokens:
    """The tokens of one sample at one decoder block, without padding (n tokens, in order).

    ``visual`` is bool (n,). ``position`` counts from 0 (n,). ``input`` is the block's input (n, hidden) in the model's
    dtype, and ``output`` is the dense block's output, likewise. ``sample`` is the sample's index in the whole
    calibration set, independent of batch and rank. ``ids`` are vocabulary indices, int64 (n,).

    Other fields are set only for the rules that need them: ``last_attention`` (float32, n) with ``needs_attention``;
    ``linear`` and ``dense_output`` (n, out) with ``per_linear``, and also ``output_sensitivity`` (float32, n) with
    ``needs_sensitivity``; ``labelled`` (bool, n) with ``needs_answers``; ``calibration_set`` with ``needs_whole``.

    Raises:
        ContractError: when a rule reads ``attention``, ``linear_output``, ``sensitivity``, ``answer`` or ``whole``
            without declaring that it needs this property.
    """

    visual: Tensor
    position: Tensor
    input: Tensor
    output: Tensor
    sample: int
    block: int
    seed: int
    last_attention: Tensor | None = None
    linear: str = ""
    dense_output: Tensor | None = None
    ids: Tensor | None = None
    labelled: Tensor | None = None
    calibration_set: WholeSet | None = None
    output_sensitivity: Tensor | None = None

    @property
    def attention(self) -> Tensor:
        """Attention of the last query to each token, averaged over heads: float32 (n,), with sum 1."""
        return _declared(self.last_attention, "attention", "needs_attention")

    @property
    def linear_output(self) -> Tensor:
        """Output of the dense Linear named ``linear`` for each token, in the model's dtype: (n, out)."""
        return _declared(self.dense_output, "linear_output", "per_linear")

    @property
    def sensitivity(self) -> Tensor:
        """Sensitivity of the block's output to the output of the Linear named ``linear`` at each token: float32 (n,).

        One backward pass propagates ``u`` from the block's output to the Linear's output; the sensitivity of a token is
        the squared length of the result at that token. ``u`` is 1 or -1 at every token and channel: a product of signs
        of tokens and of channels, which are drawn from the run's seed, the block and the sample. The mean over such
        draws is ||d block(x) / d output_t||^2, with all entries squared and summed.
        """
        return _declared(self.output_sensitivity, "sensitivity", "needs_sensitivity and per_linear")

    @property
    def answer(self) -> Tensor:
        """The assistant's tokens, bool (n,)."""
        return _declared(self.labelled, "answer", "needs_answers")

    @property
    def whole(self) -> WholeSet:
        """All tokens of the calibration set."""
        return _declared(self.calibration_set, "whole", "needs_whole")

    @property
    def text(self) -> Tensor:
        """Every token that is not visual, bool (n,)."""
        return ~self.visual

    @property
    def n_text(self) -> int:
        return int(self.text.sum())

    @cached_property
    def drift(self) -> Tensor:
        """How far the block rotates each token, 1 - cos(input, output): float32 (n,) (ATV-Pruning, step 2)."""
        return token_drift(self.input, self.output)


def _declared(value: T | None, name: str, needed: str) -> T:
    """Returns ``value``, which was recorded only if the rule sets ``needed``.

    Raises:
        ContractError: if it was not recorded.
    """
    if value is None:
        raise ContractError(f"selection: a rule that reads tokens.{name} must set {needed} = True")
    return value


def token_drift(before: Tensor, after: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns 1 - cosine similarity of corresponding rows of two tensors (n, hidden), computed in ``dtype``: (n,)."""
    return 1 - torch.cosine_similarity(before.to(dtype), after.to(dtype), dim=-1)


@dataclass(frozen=True)
class SetStatistics:
    """Statistics of a block, known once all calibration samples have been observed.

    ``mean_drift`` is the mean over visual tokens, and ``text_drift`` the mean over text tokens. ``whole`` holds all
    tokens of the calibration set, for a rule with ``needs_whole``.
    """

    mean_drift: float
    samples: int
    text_tokens: int
    visual_tokens: int
    whole: WholeSet | None = None
    text_drift: float = 0.0


class TokenSelection(Plugin, ABC):
    """Base class of rules that pick the calibration tokens of each sample. Most rules only define ``select``.

    A rule that must first see the whole calibration set (for example, for a budget by mean drift) lists its undecided
    tokens in ``candidates``. Their inputs are kept until all samples have been observed; ``decide`` then weights them.

    A rule declares by class attributes what it needs beyond the tokens; nothing is recorded for rules that do not.

    Attributes:
        needs_attention: whether the rule reads ``tokens.attention``.
        needs_answers: whether the rule reads ``tokens.answer``.
        needs_whole: whether the rule reads ``tokens.whole``, the tokens of all samples.
        per_linear: whether the rule is applied to every Linear separately; it can then read ``tokens.linear`` and
            ``tokens.linear_output``.
        needs_sensitivity: whether a ``per_linear`` rule reads ``tokens.sensitivity``, which takes a forward and a
            backward pass of each block.
        average: whether squared norms are averaged over samples or over tokens (the sum of their weights). This only
            affects methods that compare Linears with one another.
    """

    option = "selection"

    needs_attention: bool = False
    needs_answers: bool = False
    needs_whole: bool = False
    per_linear: bool = False
    needs_sensitivity: bool = False
    average: Literal["samples", "tokens"] = "samples"

    @abstractmethod
    def select(self, tokens: Tokens) -> Tensor:
        """Returns the tokens that enter immediately: bool (n,), or float weights (n,) of their squared inputs."""

    def candidates(self, tokens: Tokens) -> Tensor:
        """Returns the indices of the undecided tokens, best first: int64 (k,). By default there are none."""
        return tokens.position[:0]

    def decide(self, candidates: Tensor, n_text: int, statistics: SetStatistics) -> Tensor:
        """Returns which candidates enter: bool (k,) or float weights (k,), in the order of ``candidates``."""
        raise ContractError(f"selection: {type(self).__name__} returns candidates but does not define decide")

    def adopt_needs(self, *rules: "TokenSelection") -> None:
        """Adds the needs of ``rules`` to those of this rule; for the constructor of a rule that wraps others.

        This covers every ``needs_`` attribute and ``per_linear``; ``average`` remains this rule's own.
        """
        for need in (*(name for name in vars(TokenSelection) if name.startswith("needs_")), "per_linear"):
            setattr(self, need, any(getattr(rule, need) for rule in (self, *rules)))
