"""Which tokens enter the calibration pool."""

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

    ``ids`` are their numbers in the vocabulary, int64 (N,); ``visual`` and ``answer`` are bool (N,), the latter without
    any where the batches do not say; ``sample`` is the index of each token's sample, int64 (N,).
    """

    ids: Tensor
    visual: Tensor
    answer: Tensor
    sample: Tensor

    @property
    def text(self) -> Tensor:
        """bool (N,): every token that is not visual."""
        return ~self.visual

    @cached_property
    def by_sample(self) -> tuple[Tensor, Tensor]:
        """Text tokens and visual tokens of each sample: int64 (samples,) twice."""
        text, visual = (torch.bincount(self.sample, kind.long()).long() for kind in (self.text, self.visual))
        return text, visual

    @cached_property
    def half(self) -> Tensor:
        """int64 (samples,): 0 and 1 in turn, among the samples with visual tokens and among those without."""
        pictured = self.by_sample[1] > 0
        return (torch.where(pictured, pictured.cumsum(0), (~pictured).cumsum(0)) - 1) % 2

    @cached_property
    def pictured(self) -> Tensor:
        """bool (N,): tokens of samples that have visual tokens."""
        return (self.by_sample[1] > 0)[self.sample]


@dataclass(frozen=True)
class Tokens:
    """One sample at one decoder block, without its padding (n tokens, in order).

    ``visual`` is bool (n,); ``position`` counts from 0 (n,); ``input`` is the block's input (n, hidden) in the
    model's dtype; ``output`` the dense block's output, likewise; ``sample`` is the sample's index in the whole
    calibration set, whatever batch or rank it came from. ``last_attention`` (float32, n) is there for rules with
    ``needs_attention``; ``linear`` and ``dense_output`` (n, out) for rules that are ``per_linear``, and with them
    ``output_sensitivity`` (float32, n) for those with ``needs_sensitivity``; ``labelled`` (bool, n) for those with
    ``needs_answers`` and ``calibration_set`` for those with ``needs_whole``. ``ids`` are the tokens' numbers in the
    vocabulary, int64 (n,).

    Raises:
        ContractError: from ``attention``, ``linear_output``, ``sensitivity``, ``answer`` or ``whole``, to a rule that
            did not say that it needs it.
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
        """How much the last query attends to each token, mean over heads: float32 (n,), the sum is 1."""
        return _asked_for(self.last_attention, "attention", "needs_attention")

    @property
    def linear_output(self) -> Tensor:
        """What the dense Linear called ``linear`` makes of each token, in the model's dtype: (n, out)."""
        return _asked_for(self.dense_output, "linear_output", "per_linear")

    @property
    def sensitivity(self) -> Tensor:
        """How much the block's output moves with what the Linear called ``linear`` makes of each token: float32 (n,).

        The squared length of what ``u`` becomes by one backward pass from the block's output to the Linear's; ``u`` is
        1 or -1 at every token and channel, a product of signs of tokens and of channels that are drawn from the run's
        seed, the block and the sample. Over such draws it has the mean ||d block(x) / d output_t||^2, all entries
        squared and summed.
        """
        return _asked_for(self.output_sensitivity, "sensitivity", "needs_sensitivity and per_linear")

    @property
    def answer(self) -> Tensor:
        """bool (n,): which tokens the assistant says."""
        return _asked_for(self.labelled, "answer", "needs_answers")

    @property
    def whole(self) -> WholeSet:
        """All tokens of the calibration set."""
        return _asked_for(self.calibration_set, "whole", "needs_whole")

    @property
    def text(self) -> Tensor:
        """bool (n,): every token that is not visual."""
        return ~self.visual

    @property
    def n_text(self) -> int:
        return int(self.text.sum())

    @cached_property
    def drift(self) -> Tensor:
        """How far the block turns each token, 1 - cos(input, output): float32 (n,) (ATV-Pruning, step 2)."""
        return token_drift(self.input, self.output)


def _asked_for(value: T | None, name: str, needed: str) -> T:
    """What was recorded for a rule that said ``needed``."""
    if value is None:
        raise ContractError(f"selection: a rule that reads tokens.{name} must say {needed} = True")
    return value


def token_drift(before: Tensor, after: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 - cosine similarity of each row, computed in ``dtype``: (n, hidden) twice -> (n,)."""
    return 1 - torch.cosine_similarity(before.to(dtype), after.to(dtype), dim=-1)


@dataclass(frozen=True)
class SetStatistics:
    """What is known of a block once every calibration sample was observed.

    ``whole`` has all tokens of the set, for a rule with ``needs_whole``; ``mean_drift`` is of visual tokens,
    ``text_drift`` the same of text tokens.
    """

    mean_drift: float
    samples: int
    text_tokens: int
    visual_tokens: int
    whole: WholeSet | None = None
    text_drift: float = 0.0


class TokenSelection(Plugin, ABC):
    """A rule that picks the calibration tokens of each sample. Most rules write ``select`` alone.

    A rule that must know the whole calibration set first (a budget by mean drift, say) names its undecided tokens
    in ``candidates``; their inputs are kept until all samples were observed, when ``decide`` weighs them.

    What a rule needs beyond the tokens it says by attributes; nothing is recorded for others. A rule with
    ``needs_attention`` reads ``tokens.attention``, one with ``needs_answers`` reads ``tokens.answer``, one with
    ``needs_whole`` reads ``tokens.whole``, the tokens of all samples; one that is ``per_linear`` is asked for every
    Linear by itself and reads ``tokens.linear`` and ``tokens.linear_output``, and with ``needs_sensitivity``
    ``tokens.sensitivity``, which costs a forward and a backward of each block. Squared norms are averaged over samples
    or tokens (their weights' sum) as ``average`` says, which moves only what compares Linears with one another.
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
        """Tokens that enter at once: bool (n,), or float weights (n,) that multiply their squared inputs."""

    def candidates(self, tokens: Tokens) -> Tensor:
        """Indices of the undecided tokens, best first: int64 (k,). By default there are none."""
        return tokens.position[:0]

    def decide(self, candidates: Tensor, n_text: int, statistics: SetStatistics) -> Tensor:
        """Which candidates enter: bool (k,) or float weights (k,), in the order that ``candidates`` gave."""
        raise ContractError(f"selection: {type(self).__name__} names candidates but does not define decide")

    def adopt_needs(self, *rules: "TokenSelection") -> None:
        """For the constructor of a rule that asks other ``rules``: it then needs what any of them does, or it itself.

        That is every ``needs_`` attribute, and ``per_linear``; ``average`` stays its own.
        """
        for need in (*(name for name in vars(TokenSelection) if name.startswith("needs_")), "per_linear"):
            setattr(self, need, any(getattr(rule, need) for rule in (self, *rules)))
