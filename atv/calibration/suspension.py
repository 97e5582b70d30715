"""Forward passes that pause at a door in front of every decoder block.

Each calibration batch runs its ordinary forward in its own greenlet. When the forward arrives at a block, the door runs
the block once under observation and pauses. When resumed, it runs the block again, which is pruned by then, and the
forward continues to the next door. Nothing is captured or replayed, so whatever a model does between blocks happens.
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
    """A batch at the door of a block: the dense block's output, and what its targets read to compute it.

    ``input`` and ``output`` are (batch, length, hidden), or (batch, length, streams x width) if a decoder has several
    residual streams. ``waiting`` is the input as the forward holds it. ``observed`` is what selection rules need in
    addition. ``rerun`` runs the block once more on the same arguments, and may be called any number of times.
    """

    block: int
    input: Tensor
    output: Tensor
    target_inputs: TargetInputs
    observed: AttentionAndOutputs = field(default_factory=AttentionAndOutputs)
    waiting: Tensor | None = None
    rerun: Callable[[], Tensor] | None = None


class _Forward(greenlet.greenlet):
    """Greenlet of a forward over tokens of ``shape`` (batch, length), with the block to stop at and its arrival."""

    shape: torch.Size
    next_block = 0
    arrival: Arrival | None = None
    rerun: Callable[[], Tensor] | None = None


class SuspendedForward:
    """The forward pass of one batch; ``advance`` takes it to the next door."""

    def __init__(self, model: nn.Module, inputs: Mapping[str, Any]) -> None:
        self._greenlet = _Forward(lambda: model(**inputs, use_cache=False))
        self._greenlet.shape = inputs["input_ids"].shape[:2]

    def advance(self, block: int) -> Arrival | None:
        """Resumes up to the door of ``block``; returns None if the forward skips it, as Mllama does for text alone.

        Raises:
            RuntimeError: if the forward ended, or arrived at an earlier block. Errors of the model's own forward are
                raised here, too.
        """
        self._greenlet.next_block = block
        self._greenlet.switch()
        if self._greenlet.dead:
            raise RuntimeError("the model's forward ended without reaching another decoder block")
        # Removed, not only read: while the forward waits, nothing but its own frames may hold tensors.
        arrival, self._greenlet.arrival = self._greenlet.arrival, None
        if arrival is not None and arrival.block != block:
            raise RuntimeError(f"the model's forward arrived at block {arrival.block} instead of {block}")
        return arrival

    @property
    def rerun(self) -> Callable[[], Tensor] | None:
        """Reruns the block at which the forward waits, in its state at that time; None if it waits at no block."""
        return self._greenlet.rerun

    def frames(self) -> Iterator[FrameType]:
        """Yields the frames of the waiting forward, innermost first."""
        frame = self._greenlet.gr_frame
        while frame is not None:
            yield frame
            frame = frame.f_back

    def close(self) -> None:
        """Ends the forward where it waits; its last block and the language-model head need not run."""
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
    """Puts a door in front of every block from ``first_block`` on, and removes all doors on exit.

    With ``propagate=False``, forwards resume with the dense block's output (one-shot pruning), at one pass per block.
    Otherwise the first block of each kind runs once more on the first batch, to check that it can be rerun.
    """
    # Hooks that move weights put a ``forward`` of their own into a block's ``__dict__``.
    own_forwards = [block.__dict__.get("forward") for block in lvlm.blocks]
    repeatable: set[tuple[str, ...]] = set()
    targets_by_block = lvlm.by_block(targets)
    try:
        for index, block in enumerate(lvlm.blocks[first_block:], start=first_block):
            block.forward = _door(
                index, block, targets_by_block[index], propagate, repeatable, observer or ForwardObserver(lvlm)
            )
        yield
    finally:
        for block, forward in zip(lvlm.blocks, own_forwards, strict=True):
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
    block_kind = (type(block).__name__, *(name for name, _ in block.named_children()))

    def observe(shape: torch.Size, *args: Any, **kwargs: Any) -> tuple[Arrival, Any]:
        def rerun() -> Tensor:
            args_copy, kwargs_copy = tree_map(_usable_in_autograd, (args, kwargs))
            return token_states(first_output(forward(*args_copy, **kwargs_copy)), shape, f"{block_kind[0]} {index}")

        hidden = args[0] if args else kwargs["hidden_states"]
        input_states = token_states(hidden, shape, f"{block_kind[0]} {index}")
        with (
            watching_inputs(targets, shape.numel(), kwargs) as inputs,
            observer.watching(index, targets) as observed,
        ):
            result = forward(*args, **kwargs)
        output = token_states(first_output(result), shape, f"{block_kind[0]} {index}")
        if propagate and block_kind not in repeatable:
            _check_rerun(f"{block_kind[0]} {index}", output, rerun())
            repeatable.add(block_kind)
        arrival = Arrival(index, input_states, output, inputs, observed, hidden, rerun)
        return arrival, None if propagate else result

    def door(*args: Any, **kwargs: Any) -> Any:
        current = greenlet.getcurrent()
        while current.next_block < index:
            current.parent.switch()
        current.arrival, dense = observe(current.shape, *args, **kwargs)
        current.rerun = current.arrival.rerun
        current.parent.switch()
        current.rerun = None
        return forward(*args, **kwargs) if propagate else dense

    return door


def _usable_in_autograd(value: Any) -> Any:
    """Clones a tensor that a trainer made in inference mode, so that backward passes may save it."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _check_rerun(block: str, output: Tensor, rerun_output: Tensor) -> None:
    """Rejects a block that keeps state or draws random numbers; last bits may differ with nondeterministic kernels."""
    # NaN and infinite activations are rejected later, naming the sample that has them.
    tolerance = 0.01 * float(output.nan_to_num(0, 0, 0).abs().max())
    if not torch.allclose(output, rerun_output, rtol=0.01, atol=tolerance, equal_nan=True):
        raise ValueError(
            f"calibration: block {block} returns a different output when it is run again on the same input; "
            "does it draw random numbers, or keep state?"
        )
