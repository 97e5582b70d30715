"""Forward passes that pause at the door of every decoder block.

Each calibration batch runs its ordinary forward in a greenlet of its own. On arrival at a block the door runs the
block once under observation and pauses; when resumed, it runs the block again, pruned by then, and the forward
goes on to the next door. Nothing is captured or replayed, so whatever a model does between its blocks happens.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import greenlet
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from atv.calibration.attention_and_outputs import AttentionAndOutputs, ForwardObserver
from atv.calibration.target_inputs import TargetInputs, watching_inputs
from atv.model.hooks import first_output, token_states
from atv.model.lvlm import LVLM
from atv.model.targets import Target


@dataclass(frozen=True)
class Arrival:
    """A batch at the door of a block: what the dense block made of it, and what its targets read meanwhile.

    ``input`` and ``output`` are (batch, length, hidden), where a decoder has several residual streams (batch, length,
    streams x width); ``waiting`` is the input as the forward holds it. ``observed`` is what selection rules asked for
    besides; ``again`` runs the block once more on what it was given, as often as wanted.
    """

    block: int
    input: Tensor
    output: Tensor
    target_inputs: TargetInputs
    observed: AttentionAndOutputs = field(default_factory=AttentionAndOutputs)
    waiting: Tensor | None = None
    again: Callable[[], Tensor] | None = None


class _Forward(greenlet.greenlet):
    """A forward of tokens in the shape (batch, length), the block that it should come to next, and what it brings."""

    shape: torch.Size
    wanted = 0
    arrival: Arrival | None = None
    again: Callable[[], Tensor] | None = None


class SuspendedForward:
    """One batch's forward pass; ``advance`` takes it to the next door."""

    def __init__(self, model: nn.Module, inputs: Mapping[str, Any]) -> None:
        self._greenlet = _Forward(lambda: model(**inputs, use_cache=False))
        self._greenlet.shape = inputs["input_ids"].shape[:2]

    def advance(self, block: int) -> Arrival | None:
        """Resumes until the door of ``block``; None where the forward skips it, as Mllama does with text alone.

        Raises:
            RuntimeError: when the forward ended, or came to an earlier block. An error of the model's forward is
                raised here, too.
        """
        self._greenlet.wanted = block
        self._greenlet.switch()
        if self._greenlet.dead:
            raise RuntimeError("the model's forward ended without another decoder block")
        # Taken away, not read: while the forward waits, only its own frames hold anything.
        arrival, self._greenlet.arrival = self._greenlet.arrival, None
        if arrival is not None and arrival.block != block:
            raise RuntimeError(f"the model's forward came to block {arrival.block} in place of {block}")
        return arrival

    @property
    def again(self) -> Callable[[], Tensor] | None:
        """Runs the block that the forward waits at once more, as it is by then; None where it waits before none."""
        return self._greenlet.again

    def frames(self) -> Iterator[FrameType]:
        """The frames of the forward while it waits, innermost first."""
        frame = self._greenlet.gr_frame
        while frame is not None:
            yield frame
            frame = frame.f_back

    def close(self) -> None:
        """Ends the forward where it stands; its last block and the language head need not run."""
        if self._greenlet:
            self._greenlet.throw(greenlet.GreenletExit)


@contextmanager
def doors(
    lvlm: LVLM,
    targets: Mapping[str, Target],
    propagate: bool,
    first_block: int = 0,
    observer: ForwardObserver | None = None,
) -> Iterator[None]:
    """Puts a door before every block from ``first_block`` on, and takes all of them away again.

    ``propagate=False`` resumes with the dense block's output (one-shot pruning), at one pass a block. Otherwise the
    first block of each kind runs once more on the first batch, to see that it can be run again.
    """
    # Hooks that move weights have put a forward of their own into a block's dict.
    before = [block.__dict__.get("forward") for block in lvlm.blocks]
    repeatable: set[tuple[str, ...]] = set()
    inside = lvlm.by_block(targets)
    try:
        for index, block in enumerate(lvlm.blocks[first_block:], start=first_block):
            block.forward = _door(index, block, inside[index], propagate, repeatable, observer or ForwardObserver(lvlm))
        yield
    finally:
        for block, forward in zip(lvlm.blocks, before, strict=True):
            block.__dict__.pop("forward", None)
            if forward is not None:
                block.forward = forward


def _door(
    index: int,
    block: nn.Module,
    targets: Mapping[str, Target],
    propagate: bool,
    repeatable: set[tuple[str, ...]],
    observer: ForwardObserver,
) -> Callable[..., Any]:
    forward = block.forward
    kind = (type(block).__name__, *(name for name, _ in block.named_children()))

    def observed(shape: torch.Size, *args: Any, **kwargs: Any) -> tuple[Arrival, Any]:
        def again() -> Tensor:
            given, named = tree_map(_ordinary, (args, kwargs))
            return token_states(first_output(forward(*given, **named)), shape, f"{kind[0]} {index}")

        hidden = args[0] if args else kwargs["hidden_states"]
        entered = token_states(hidden, shape, f"{kind[0]} {index}")
        with watching_inputs(targets, shape.numel(), kwargs) as inputs, observer.watching(index, targets) as seen:
            result = forward(*args, **kwargs)
        output = token_states(first_output(result), shape, f"{kind[0]} {index}")
        if propagate and kind not in repeatable:
            _check_again(f"{kind[0]} {index}", output, again())
            repeatable.add(kind)
        arrival = Arrival(index, entered, output, inputs, seen, hidden, again)
        return arrival, None if propagate else result

    def door(*args: Any, **kwargs: Any) -> Any:
        here = greenlet.getcurrent()
        while here.wanted < index:
            here.parent.switch()
        here.arrival, dense = observed(here.shape, *args, **kwargs)
        here.again = here.arrival.again
        here.parent.switch()
        here.again = None
        return forward(*args, **kwargs) if propagate else dense

    return door


def _ordinary(value: Any) -> Any:
    """A tensor that backward passes may keep, where a trainer has made it in inference mode."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _check_again(block: str, first: Tensor, second: Tensor) -> None:
    """Refuses a block that keeps state or draws; last bits may differ where kernels are not deterministic."""
    # NaN and infinite activations are refused by the sample that brings them.
    allowed = 0.01 * float(first.nan_to_num(0, 0, 0).abs().max())
    if not torch.allclose(first, second, rtol=0.01, atol=allowed, equal_nan=True):
        raise ValueError(
            f"calibration: block {block} gives another output when it is run again on the same input; "
            "does it draw random numbers, or keep a state?"
        )
