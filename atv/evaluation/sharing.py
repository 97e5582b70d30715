"""A picture's prefix, run once for all questions about it: what comes before their ways part."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicSlidingWindowLayer

from atv.evaluation.decoding import (
    BY_TOKEN,
    PROMPT_ONLY,
    Prefill,
    Prepared,
    carried_on,
    decodes,
    forward,
    next_step,
    plain,
    unknown,
    whole_prompts,
)
from atv.model.decoder import PIXELS, cache_of
from atv.model.lvlm import LVLM


class NotShareable(ValueError):
    """Why questions about one picture must be asked alone."""


class Pictures(NamedTuple):
    """The pictures of a batch of questions, each once.

    Attributes:
        inputs: what the processor makes of the first row about each picture.
        of: which picture each row of the batch is about, counted in the order of first rows.
    """

    inputs: dict[str, Any]
    of: list[int]


@dataclass(frozen=True)
class Prefixes:
    """What the rows of a left-padded batch begin with.

    Attributes:
        inputs: the tensors that bring the pictures, each picture once.
        first: the first row about each picture, int64 (pictures,).
        of: which picture each row is about, int64 (rows,).
        lengths: tokens of each picture's prefix, all of its visual ones among them, int64 (pictures,).
        rest: tokens of each row behind its prefix, at least one, int64 (rows,).
    """

    inputs: Mapping[str, Any]
    first: Tensor
    of: Tensor
    lengths: Tensor
    rest: Tensor

    @classmethod
    def find(cls, lvlm: LVLM, batch: Mapping[str, Any], pictures: Pictures) -> "Prefixes":
        """The longest beginnings that the rows about a picture have in common.

        Raises:
            NotShareable: for rows that are not padded on the left, visual tokens behind a beginning, or tensors that
                follow the tokens in a way that is not known.
        """
        valid, visual = lvlm.valid(batch), lvlm.visual(batch)
        if (valid[:, 1:] < valid[:, :-1]).any():
            raise NotShareable("its rows are not padded on the left")
        brought = {name: value for name, value in pictures.inputs.items() if name not in (*BY_TOKEN, "input_ids")}
        for name, value in brought.items():
            if isinstance(value, Tensor) and value.shape[:2] == pictures.inputs["input_ids"].shape:
                raise NotShareable(f"its {name} follow the tokens")
        texts = [ids[own] for ids, own in zip(batch["input_ids"], valid, strict=True)]
        of = torch.tensor(pictures.of, device=valid.device)
        lengths = of.new_tensor([_common([texts[row] for row in rows]) for rows in _rows(pictures.of)])
        rest = valid.sum(1) - lengths[of]
        last = visual * torch.arange(1, visual.shape[1] + 1, device=visual.device)
        if (last.amax(1) > visual.shape[1] - rest).any():
            raise NotShareable("visual tokens lie behind what a picture's questions have in common")
        first = of.new_tensor([rows[0] for rows in _rows(pictures.of)])
        return cls(brought, first, of, lengths, rest)

    def prefill(self, model: PreTrainedModel, input_ids: Tensor, prepared: Prepared) -> tuple[Any, Prepared]:
        """Runs the prefixes in one forward, then the rest of every row on top of its picture's keys and values.

        Ids, positions and token types are cut out of those of the whole rows, so that they are what they are alone.
        The rest is padded on its left, between prefix and question, where the mask hides it.

        Raises:
            NotShareable: for inputs or a cache of which not everything is known.
        """
        if more := unknown(prepared) - self.inputs.keys():
            raise NotShareable(f"how to take apart its {', '.join(sorted(more))} is not known")
        if prepared.get("position_ids") is None:
            raise NotShareable("it makes its positions itself")
        ends = input_ids.shape[1] - self.rest
        head = ends[self.first][:, None] + torch.arange(-int(self.lengths.max()), 0, device=input_ids.device)
        seen = head >= (ends - self.lengths[self.of])[self.first][:, None]
        ids, given = _cut(input_ids, prepared, self.first[:, None], head, seen)
        cache = cache_of(given)
        forward(model, ids, given | {"attention_mask": seen.to(ids), **self.inputs}, is_first_iteration=True)
        if not plain(cache):
            raise NotShareable("its cache keeps more than keys and values")
        cache.batch_select_indices(self.of)
        columns = torch.arange(-int(self.rest.max()), 0, device=input_ids.device) + input_ids.shape[1]
        asked = columns >= ends[:, None]
        rows = torch.arange(len(asked), device=input_ids.device)[:, None]
        ids, given = _cut(input_ids, prepared, rows, columns.expand_as(asked), asked)
        mask = torch.cat([seen[self.of], asked], dim=1).to(ids)
        output = forward(model, ids, given | {"attention_mask": mask})
        return output, carried_on(model, output, prepared | {"attention_mask": mask})

    def fits(self, window: int | None, new_tokens: int) -> bool:
        """Whether an attention window cannot tell that prefix and question are padded apart."""
        total = int(self.lengths.max() + self.rest.max()) + new_tokens
        return window is None or total < window or bool((self.rest == self.rest[0]).all())


class SharingTrial(NamedTuple):
    """The result of asking both alone and with shared prefixes: whether logits are equal, and the shortest window that
    attention looks back (tokens), where there is one."""

    equal: bool
    window: int | None = None


class Sharing:
    """Decides for a model whether its questions share prefixes: where the first that could give equal logits alone.

    Where they do not, or where it is not sure what would happen, they are asked alone, and one line says why.

    Args:
        model: the model that answers.
        generate: its generation with a decoding loop.
        new_tokens: of the longest answer.
        built_alike: what is known of models, by how they are built; what is found out is added.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        generate: Callable[..., Any],
        new_tokens: int,
        built_alike: dict[Hashable, SharingTrial] | None = None,
    ) -> None:
        self.lvlm, self.generate, self.new_tokens = LVLM.of(model), generate, new_tokens
        self._built_alike = {} if built_alike is None else built_alike
        self._structure = structure(model)
        self._told: set[str] = set()

    @property
    def trial(self) -> SharingTrial | None:
        """None before the first batch that could share."""
        return self._built_alike.get(self._structure)

    def prefill(self, inputs: Mapping[str, Any], pictures: Pictures) -> tuple[Prefill, dict[str, Any]]:
        """How to run the prompts of a batch, and what ``generate`` is to be given for it."""
        if self.trial is None or self.trial.equal:
            try:
                prefixes = Prefixes.find(self.lvlm, inputs, pictures)
                window = (self.trial or self._compare(inputs, prefixes)).window
                if not prefixes.fits(window, self.new_tokens):
                    raise NotShareable(f"its attention looks back {window} tokens")
                return prefixes.prefill, _without_pixels(inputs)
            except NotShareable as reason:
                self._tell(str(reason))
        return whole_prompts, dict(inputs)

    def _compare(self, inputs: Mapping[str, Any], prefixes: Prefixes) -> SharingTrial:
        """
        Raises:
            NotShareable: where logits differ by more than rounding, or cannot be had.
        """
        self._built_alike[self._structure] = SharingTrial(equal=False)
        if not decodes(self.lvlm.model):
            raise NotShareable("it generates in its own way")
        alone, shared = _Probe(whole_prompts), _Probe(prefixes.prefill)
        expected = self.generate(inputs, alone)
        try:
            made = self.generate(_without_pixels(inputs), shared)
        except NotShareable:
            raise
        except Exception as error:  # whatever a model does with inputs that it never gets from its own generate
            raise NotShareable(f"{type(error).__name__}: {error}") from error
        if not close(made, expected):
            raise NotShareable("what comes before a question gives other answers without it")
        self._built_alike[self._structure] = found = SharingTrial(True, shared.window)
        return found

    def _tell(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            console = Console(stderr=True, quiet=getattr(rank_zero_only, "rank", 0) != 0)
            name = type(self.lvlm.model).__name__
            console.print(f"{name}: questions about one picture are asked alone ({reason})", soft_wrap=True)


class _Probe:
    """A loop for ``generate`` that returns the logits (2, rows, vocabulary) of two steps, the second of a fixed id."""

    def __init__(self, prefill: Prefill) -> None:
        self.prefill = prefill
        self.window: int | None = None

    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **prepared: Any,
    ) -> Tensor:
        first, prepared = self.prefill(model, input_ids, prepared)
        second, prepared = next_step(model, torch.cat([input_ids, input_ids[:, -1:]], dim=1), prepared)
        layers = getattr(cache_of(prepared), "layers", ())
        windows = [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
        self.window = min(windows, default=None)
        return torch.stack([first.logits[:, -1], second.logits[:, -1]])


def structure(model: PreTrainedModel) -> Hashable:
    """How a model is built: its config, its modules by class, its parameters by shape, dtype and device.

    Models that differ in nothing but values run the same operations, so what holds for one's prefixes holds for all.
    """
    modules = tuple((name, type(module)) for name, module in model.named_modules())
    parameters = ((name, weight.shape, weight.dtype, weight.device) for name, weight in model.named_parameters())
    return str(model.config), modules, tuple(parameters)


def close(made: Tensor, expected: Tensor) -> bool:
    """Whether logits are equal up to rounding in their dtype, which other shapes of the same products bring."""
    allowed = max(1e-4, 4 * torch.finfo(expected.dtype).eps) * float(expected.abs().max())
    return torch.allclose(made, expected, rtol=0, atol=allowed, equal_nan=True)


def _cut(
    input_ids: Tensor, prepared: Prepared, rows: Tensor, columns: Tensor, inside: Tensor
) -> tuple[Tensor, Prepared]:
    """Some columns (n, k) of some rows (n, 1), of ids and of all that follows them.

    Outside stand a row's last id, which is text, and zeros.
    """
    columns = columns.clamp(min=0)
    ids = input_ids[rows, columns].where(inside, input_ids[rows, -1])
    kept = {name: value for name, value in prepared.items() if name not in (*BY_TOKEN, *PROMPT_ONLY)}
    by_token = {name: prepared[name] for name in BY_TOKEN if prepared.get(name) is not None}
    return ids, kept | {name: value[..., rows, columns] * inside for name, value in by_token.items()}


def _without_pixels(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if not name.startswith(PIXELS)}


def _rows(of: Sequence[int]) -> list[list[int]]:
    """The rows about each picture."""
    return [[row for row, own in enumerate(of) if own == picture] for picture in range(max(of) + 1)]


def _common(texts: Sequence[Tensor]) -> int:
    """How many ids all texts begin with alike, at least one short of each."""
    shortest = min(map(len, texts)) - 1
    same = torch.stack([text[:shortest] == texts[0][:shortest] for text in texts]).all(0)
    return int(same.cumprod(0).sum())
