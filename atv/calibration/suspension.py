"""Forward passes that pause at the door of every decoder block.

Each calibration batch runs its ordinary forward in a greenlet of its own. On arrival at a block the door runs the
block once under observation and pauses; when resumed, it runs the block again, pruned by then, and the forward
goes on to the next door. Nothing is captured or replayed, so whatever a model does between its blocks happens.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import greenlet
from torch import Tensor, nn

from atv.calibration.recording import Recording, recording
from atv.lvlm import LVLM
from atv.targets import Target


@dataclass(frozen=True)
class Arrival:
    """A batch at the door of a block: what the dense block made of it, and what its targets read meanwhile.

    ``input`` and ``output`` are (batch, length, hidden).
    """

    block: int
    input: Tensor
    output: Tensor
    recording: Recording


class SuspendedForward:
    """One batch's forward pass; ``advance`` takes it to the next door."""

    def __init__(self, model: nn.Module, inputs: Mapping[str, Any]) -> None:
        self._greenlet = greenlet.greenlet(lambda: model(**inputs, use_cache=False))

    def advance(self) -> Arrival:
        """Resumes until the next block; an error of the model's forward is raised here.

        Raises:
            RuntimeError: when the forward ended, or never came to a block.
        """
        arrived = self._greenlet.switch()
        if not isinstance(arrived, list):
            raise RuntimeError("the model's forward ended without another decoder block")
        return arrived.pop()

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
def doors(lvlm: LVLM, targets: Mapping[str, Target], propagate: bool, first_block: int = 0) -> Iterator[None]:
    """Puts a door before every block from ``first_block`` on, and takes all of them away again.

    ``propagate=False`` resumes with the dense block's output (one-shot pruning), at one pass a block.
    """
    # Hooks that move weights have put a forward of their own into a block's dict.
    before = [block.__dict__.get("forward") for block in lvlm.blocks]
    try:
        for index, block in enumerate(lvlm.blocks[first_block:], start=first_block):
            inside = {name: target for name, target in targets.items() if lvlm.block_of(name) == index}
            block.forward = _door(index, block.forward, inside, propagate)
        yield
    finally:
        for block, forward in zip(lvlm.blocks, before, strict=True):
            block.__dict__.pop("forward", None)
            if forward is not None:
                block.forward = forward


def _door(
    index: int, forward: Callable[..., Any], targets: Mapping[str, Target], propagate: bool
) -> Callable[..., Any]:
    def door(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        with recording(targets, hidden.shape[:2].numel(), kwargs) as noted:
            result = forward(*args, **kwargs)
        arrived = [Arrival(index, hidden, result if isinstance(result, Tensor) else result[0], noted)]
        # While this frame waits, whatever it refers to stays in memory; advance() empties the list.
        del noted
        if propagate:
            del result
        greenlet.getcurrent().parent.switch(arrived)
        return forward(*args, **kwargs) if propagate else result

    return door
