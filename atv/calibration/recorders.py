"""What the doors record of a block beyond its Linears' inputs, and only for rules that ask for it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from atv.calibration.attention import AttentionCall, attention_calls
from atv.model.hooks import watching
from atv.model.lvlm import LVLM
from atv.model.targets import Target
from atv.selection import TokenSelection


@dataclass
class Recorded:
    """Of one batch at one block: its attention call, and each Linear's output (batch, length, out)."""

    attention: AttentionCall | None = None
    outputs: dict[str, Tensor] = field(default_factory=dict)


class Recorder:
    """Records what some selection rules need."""

    def __init__(self, lvlm: LVLM, rules: Iterable[TokenSelection] = ()) -> None:
        rules = tuple(rules)
        self._model = type(lvlm.model).__name__
        self._attention = [type(rule).__name__ for rule in rules if rule.needs_attention]
        self._outputs = any(rule.per_linear for rule in rules)

    @contextmanager
    def __call__(self, block: int, targets: Mapping[str, Target]) -> Iterator[Recorded]:
        """Around a block's forward.

        Raises:
            ValueError: for a block whose attention cannot be seen.
        """
        recorded = Recorded()
        with ExitStack() as stack:
            calls = stack.enter_context(attention_calls()) if self._attention else []
            if self._outputs:
                linears = {name: target for name, target in targets.items() if isinstance(target, nn.Linear)}
                stack.enter_context(watching(linears, lambda name, _, output: recorded.outputs.update({name: output})))
            yield recorded
        if self._attention and not calls:
            raise ValueError(
                f"selection: {self._attention[0]} needs the last query's attention, but block {block} of {self._model} "
                "has no self-attention that goes through transformers' AttentionInterface"
            )
        recorded.attention = calls[0] if calls else None
