"""Records attention and the Linears' outputs during a block's forward, for selection rules that need them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from transformers import AttentionInterface

from atv.model.hooks import watching
from atv.model.lvlm import LVLM
from atv.model.targets import Target
from atv.selection import TokenSelection


@dataclass(frozen=True)
class AttentionCall:
    """The arguments of a call of a block's self-attention, as transformers passes them to an implementation.

    Queries are rotated and (batch, heads, length, width); keys are (batch, key heads, length, width).
    """

    query: Tensor
    key: Tensor
    mask: Any
    scaling: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def last_query(self, row: int, valid: Tensor) -> Tensor:
        """The last valid query's attention to each token of a row of the batch, mean over heads, float32 (length,).

        Keys hidden by the row's mask, its padding or a sliding window get 0. A sink, which a head may attend to instead
        of any key, takes its share, so that the sum is below 1. ``valid`` is bool (length,). A row that is all padding
        has no such query, and every token gets 0.
        """
        if not bool(valid.any()):
            return torch.zeros(len(valid), device=self.query.device)
        last = int(valid.nonzero()[-1])
        query = rearrange(self.query[row, :, last].float(), "(kv group) w -> kv group w", kv=self.key.shape[1])
        logits = torch.einsum("kgw,klw->kgl", query, self.key[row].float())
        logits = logits * (self.query.shape[-1] ** -0.5 if self.scaling is None else self.scaling)
        if cap := self.options.get("softcap"):
            logits = cap * torch.tanh(logits / cap)
        logits = rearrange(logits, "kv group l -> (kv group) l") + self._additive_mask(row, last, valid)
        if (bias := self.options.get("position_bias")) is not None:
            logits = logits + bias[row % len(bias), :, last, : len(valid)].float()
        if (sinks := self.options.get("s_aux")) is not None:
            logits = torch.cat([logits, sinks.float().reshape(-1, 1)], dim=1)
        return reduce(logits.softmax(-1)[:, : len(valid)], "heads l -> l", "mean")

    def _additive_mask(self, row: int, last: int, valid: Tensor) -> Tensor:
        """Returns the terms to add to the logits: 0 where the query sees a key, else -inf or the mask's value.

        The result is (length,), or (heads, length) if the mask differs between heads.
        """
        positions = torch.arange(len(valid), device=valid.device)
        visible = valid & (positions <= last)
        if window := self.options.get("sliding_window"):
            visible = visible & (positions > last - window)
        additive_mask = _as_additive(visible).to(self.query.device)
        if not isinstance(self.mask, Tensor) or self.mask.dim() != 4:
            return additive_mask
        mask = self.mask[row % len(self.mask), :, last, : len(valid)]
        return additive_mask + (_as_additive(mask) if mask.dtype == torch.bool else mask.float())


def _as_additive(visible: Tensor) -> Tensor:
    return torch.zeros_like(visible, dtype=torch.float32).masked_fill(~visible, -torch.inf)


@contextmanager
def attention_calls() -> Iterator[list[AttentionCall]]:
    """Records self-attention calls through transformers' AttentionInterface; the model's implementation still runs."""
    calls: list[AttentionCall] = []
    original_lookup = AttentionInterface.get_interface

    def recording_lookup(interface: AttentionInterface, name: str, default: Callable[..., Any]) -> Callable[..., Any]:
        implementation = original_lookup(interface, name, default)

        def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
            if query.shape[2] == key.shape[2]:
                mask = args[0] if args else kwargs.get("attention_mask")
                calls.append(AttentionCall(query, key, mask, kwargs.get("scaling"), kwargs))
            return implementation(module, query, key, value, *args, **kwargs)

        return attend

    # transformers offers no hook where implementations are looked up, so the look-up itself is wrapped.
    AttentionInterface.get_interface = recording_lookup  # type: ignore[method-assign, assignment]
    try:
        yield calls
    finally:
        AttentionInterface.get_interface = original_lookup  # type: ignore[method-assign]


@dataclass
class AttentionAndOutputs:
    """What was observed of a batch at a block: its attention call, and by Linear its output (batch, length, out).

    ``attention`` is None and ``outputs`` is empty unless a rule needs them.
    """

    attention: AttentionCall | None = None
    outputs: dict[str, Tensor] = field(default_factory=dict)


class ForwardObserver:
    """Observes a block's forward for selection rules.

    It records attention if a rule ``needs_attention``, and the outputs of Linears if a rule is ``per_linear``.
    """

    def __init__(self, lvlm: LVLM, rules: Iterable[TokenSelection] = ()) -> None:
        rules = tuple(rules)
        self._model = type(lvlm.model).__name__
        self._attention_rules = [type(rule).__name__ for rule in rules if rule.needs_attention]
        self._needs_outputs = any(rule.per_linear for rule in rules)

    @contextmanager
    def watching(self, block: int, targets: Mapping[str, Target]) -> Iterator[AttentionAndOutputs]:
        """Context manager around a block's forward; what it yields is complete on exit.

        Raises:
            ValueError: if the block's attention is needed but cannot be observed.
        """
        observed = AttentionAndOutputs()
        with ExitStack() as stack:
            calls = stack.enter_context(attention_calls()) if self._attention_rules else []
            if self._needs_outputs:
                linears = {name: target for name, target in targets.items() if isinstance(target, nn.Linear)}
                stack.enter_context(watching(linears, lambda name, _, output: observed.outputs.update({name: output})))
            yield observed
        if self._attention_rules and not calls:
            raise ValueError(
                f"selection: {self._attention_rules[0]} needs the last query's attention, but block "
                f"{block} of {self._model} has no self-attention that goes through transformers' AttentionInterface; "
                "choose another rule"
            )
        observed.attention = calls[0] if calls else None
