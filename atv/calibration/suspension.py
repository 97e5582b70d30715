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

from atv.lvlm import LVLM


@dataclass(frozen=True)
class Arrival:
    """A batch at the door of a block: what the dense block made of it.

    ``input`` and ``output`` are (batch, length, hidden). ``sites`` maps each distinct Linear input, called after the
    first Linear that reads it, to that input (batch, length, in); ``site_of`` maps each Linear to its site.
    """

    block: int
    input: Tensor
    output: Tensor
    sites: dict[str, Tensor]
    site_of: dict[str, str]


class SuspendedForward:
    """One batch's forward pass; ``advance`` takes it to the next door."""

    def __init__(self, model: nn.Module, inputs: Mapping[str, Any]) -> None:
        self._greenlet = greenlet.greenlet(lambda: model(**inputs, use_cache=False))

    def advance(self) -> Arrival:
        """Resumes until the next block; an error of the model's forward is raised here.

        Raises:
            RuntimeError: when the forward ended, or never came to a block.
        """
        arrival = self._greenlet.switch()
        if not isinstance(arrival, Arrival):
            raise RuntimeError("the model's forward ended without another decoder block")
        return arrival

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
def doors(lvlm: LVLM, targets: Mapping[str, nn.Linear], propagate: bool, first_block: int = 0) -> Iterator[None]:
    """Puts a door before every block from ``first_block`` on, and takes all of them away again.

    ``propagate=False`` resumes with the dense block's output (one-shot pruning), at one pass a block.
    """
    # Hooks that move weights have put a forward of their own into a block's dict.
    before = [block.__dict__.get("forward") for block in lvlm.blocks]
    try:
        for index, block in enumerate(lvlm.blocks[first_block:], start=first_block):
            inside = {name: linear for name, linear in targets.items() if lvlm.block_of(name) == index}
            block.forward = _door(index, block.forward, inside, propagate)
        yield
    finally:
        for block, forward in zip(lvlm.blocks, before, strict=True):
            block.__dict__.pop("forward", None)
            if forward is not None:
                block.forward = forward


def _door(
    index: int, forward: Callable[..., Any], linears: Mapping[str, nn.Linear], propagate: bool
) -> Callable[..., Any]:
    def door(*args: Any, **kwargs: Any) -> Any:
        with _recording(linears) as (sites, site_of):
            result = forward(*args, **kwargs)
        hidden = args[0] if args else kwargs["hidden_states"]
        output = result if isinstance(result, Tensor) else result[0]
        greenlet.getcurrent().parent.switch(Arrival(index, hidden, output, sites, site_of))
        return forward(*args, **kwargs) if propagate else result

    return door


@contextmanager
def _recording(linears: Mapping[str, nn.Linear]) -> Iterator[tuple[dict[str, Tensor], dict[str, str]]]:
    """Notes every Linear's input; Linears that read the very same tensor share one site."""
    sites: dict[str, Tensor] = {}
    site_of: dict[str, str] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            site_of[name] = next((site for site, seen in sites.items() if seen is args[0]), name)
            sites.setdefault(site_of[name], args[0])

        return hook

    handles = [linear.register_forward_pre_hook(note(name)) for name, linear in linears.items()]
    try:
        yield sites, site_of
    finally:
        for handle in handles:
            handle.remove()
