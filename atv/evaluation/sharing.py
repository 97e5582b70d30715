"""Runs a picture's prefix, everything before its questions diverge, once for all of them."""

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
    """Raised with the reason why questions about one picture must be asked separately."""


class Pictures(NamedTuple):
    """The distinct pictures of a batch of questions.

    Attributes:
        inputs: the processor's output for the first row about each picture.
        picture_of_row: index of the picture that each row is about; pictures are ordered by their first rows.
    """

    inputs: dict[str, Any]
    picture_of_row: list[int]


@dataclass(frozen=True)
class Prefixes:
    """The prefixes that the rows of a left-padded batch share, one per picture.

    Attributes:
        inputs: the tensors that hold the pictures, each picture once.
        first_rows: index of the first row about each picture, int64 (pictures,).
        picture_of_row: index of the picture that each row is about, int64 (rows,).
        lengths: number of tokens in each picture's prefix, including all of its visual tokens, int64 (pictures,).
        rest_lengths: number of tokens of each row after its prefix, at least one, int64 (rows,).
    """

    inputs: Mapping[str, Any]
    first_rows: Tensor
    picture_of_row: Tensor
    lengths: Tensor
    rest_lengths: Tensor

    @classmethod
    def find(cls, lvlm: LVLM, batch: Mapping[str, Any], pictures: Pictures) -> "Prefixes":
        """Finds the longest prefix that the rows about each picture have in common.

        Raises:
            NotShareable: if rows are not padded on the left, visual tokens come after a prefix, or tensors follow the
                tokens in an unknown way.
        """
        valid, visual = lvlm.valid(batch), lvlm.visual(batch)
        if (valid[:, 1:] < valid[:, :-1]).any():
            raise NotShareable("its rows are not padded on the left")
        picture_inputs = {
            name: value for name, value in pictures.inputs.items() if name not in (*BY_TOKEN, "input_ids")
        }
        for name, value in picture_inputs.items():
            if isinstance(value, Tensor) and value.shape[:2] == pictures.inputs["input_ids"].shape:
                raise NotShareable(f"its {name} follow the tokens")
        token_ids = [ids[mask] for ids, mask in zip(batch["input_ids"], valid, strict=True)]
        picture_of_row = torch.tensor(pictures.picture_of_row, device=valid.device)
        lengths = picture_of_row.new_tensor(
            [_common_length([token_ids[row] for row in rows]) for rows in _rows_by_picture(pictures.picture_of_row)]
        )
        rest_lengths = valid.sum(1) - lengths[picture_of_row]
        visual_positions = visual * torch.arange(1, visual.shape[1] + 1, device=visual.device)
        if (visual_positions.amax(1) > visual.shape[1] - rest_lengths).any():
            raise NotShareable("visual tokens come after the prefix that a picture's questions have in common")
        first_rows = picture_of_row.new_tensor([rows[0] for rows in _rows_by_picture(pictures.picture_of_row)])
        return cls(picture_inputs, first_rows, picture_of_row, lengths, rest_lengths)

    def prefill(self, model: PreTrainedModel, input_ids: Tensor, prepared: Prepared) -> tuple[Any, Prepared]:
        """Runs the prefixes in one forward, then the rest of every row on top of its picture's keys and values.

        Ids, positions and token types are cut out of those of the whole rows, so they are the same as for a question
        asked alone. The rest is padded on its left, between prefix and question, where the mask hides the padding.

        Raises:
            NotShareable: if there are unknown inputs, no positions, or a cache with more than keys and values.
        """
        if unknown_inputs := unknown(prepared) - self.inputs.keys():
            raise NotShareable(f"it is not known how to split its {', '.join(sorted(unknown_inputs))}")
        if prepared.get("position_ids") is None:
            raise NotShareable("it computes its own positions")
        prefix_ends = input_ids.shape[1] - self.rest_lengths
        prefix_columns = prefix_ends[self.first_rows][:, None] + torch.arange(
            -int(self.lengths.max()), 0, device=input_ids.device
        )
        in_prefix = prefix_columns >= (prefix_ends - self.lengths[self.picture_of_row])[self.first_rows][:, None]
        ids, inputs = _selected(input_ids, prepared, self.first_rows[:, None], prefix_columns, in_prefix)
        cache = cache_of(inputs)
        forward(model, ids, inputs | {"attention_mask": in_prefix.to(ids), **self.inputs}, is_first_iteration=True)
        if not plain(cache):
            raise NotShareable("its cache keeps more than keys and values")
        cache.batch_select_indices(self.picture_of_row)
        question_columns = torch.arange(-int(self.rest_lengths.max()), 0, device=input_ids.device) + input_ids.shape[1]
        in_question = question_columns >= prefix_ends[:, None]
        rows = torch.arange(len(in_question), device=input_ids.device)[:, None]
        ids, inputs = _selected(input_ids, prepared, rows, question_columns.expand_as(in_question), in_question)
        mask = torch.cat([in_prefix[self.picture_of_row], in_question], dim=1).to(ids)
        output = forward(model, ids, inputs | {"attention_mask": mask})
        return output, carried_on(model, output, prepared | {"attention_mask": mask})

    def fits(self, window: int | None, new_tokens: int) -> bool:
        """Whether an attention window is unaffected by the padding between prefix and question."""
        padded_length = int(self.lengths.max() + self.rest_lengths.max()) + new_tokens
        return window is None or padded_length < window or bool((self.rest_lengths == self.rest_lengths[0]).all())


class SharingTrial(NamedTuple):
    """The result of asking questions both alone and with shared prefixes.

    Attributes:
        equal: whether the logits are equal.
        window: the shortest attention window in tokens; None if there is none.
    """

    equal: bool
    window: int | None = None


class Sharing:
    """Decides whether a model's questions share prefixes, by comparing logits on the first batch that could share.

    If the logits differ, or if it is not certain what would happen, questions are asked alone, and one line says why.

    Args:
        model: the model that answers.
        generate: its generation with a decoding loop.
        new_tokens: maximum length of an answer, in tokens.
        built_alike: known trial results by how models are built; new results are added.
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
        self._reported: set[str] = set()

    @property
    def trial(self) -> SharingTrial | None:
        """The trial's result; None before the first batch that could share."""
        return self._built_alike.get(self._structure)

    def prefill(self, inputs: Mapping[str, Any], pictures: Pictures) -> tuple[Prefill, dict[str, Any]]:
        """Returns how to run a batch's prompts, and the inputs to pass to ``generate`` for it."""
        if self.trial is None or self.trial.equal:
            try:
                prefixes = Prefixes.find(self.lvlm, inputs, pictures)
                window = (self.trial or self._compare(inputs, prefixes)).window
                if not prefixes.fits(window, self.new_tokens):
                    raise NotShareable(f"its attention looks back {window} tokens")
                return prefixes.prefill, _without_pixels(inputs)
            except NotShareable as reason:
                self._report(str(reason))
        return whole_prompts, dict(inputs)

    def _compare(self, inputs: Mapping[str, Any], prefixes: Prefixes) -> SharingTrial:
        """Asks a batch both ways and compares the logits.

        Raises:
            NotShareable: if the logits differ by more than rounding, or cannot be computed.
        """
        self._built_alike[self._structure] = SharingTrial(equal=False)
        if not decodes(self.lvlm.model):
            raise NotShareable("it generates in its own way")
        alone_probe, shared_probe = _Probe(whole_prompts), _Probe(prefixes.prefill)
        expected_logits = self.generate(inputs, alone_probe)
        try:
            shared_logits = self.generate(_without_pixels(inputs), shared_probe)
        except NotShareable:
            raise
        except Exception as error:  # whatever a model raises for inputs that its own generate never passes
            raise NotShareable(f"{type(error).__name__}: {error}") from error
        if not equal_up_to_rounding(shared_logits, expected_logits):
            raise NotShareable("the prefix gives different answers if it is run without the question")
        self._built_alike[self._structure] = trial = SharingTrial(True, shared_probe.window)
        return trial

    def _report(self, reason: str) -> None:
        if reason not in self._reported:
            self._reported.add(reason)
            console = Console(stderr=True, quiet=getattr(rank_zero_only, "rank", 0) != 0)
            name = type(self.lvlm.model).__name__
            console.print(f"{name}: questions about one picture are asked separately ({reason})", soft_wrap=True)


class _Probe:
    """A loop for ``generate`` that returns two steps' logits (2, rows, vocabulary); the second step gets a fixed id."""

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
        first_output, prepared = self.prefill(model, input_ids, prepared)
        second_output, prepared = next_step(model, torch.cat([input_ids, input_ids[:, -1:]], dim=1), prepared)
        layers = getattr(cache_of(prepared), "layers", ())
        windows = [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
        self.window = min(windows, default=None)
        return torch.stack([first_output.logits[:, -1], second_output.logits[:, -1]])


def structure(model: PreTrainedModel) -> Hashable:
    """Describes how a model is built: its config, its modules' classes, its parameters' shapes, dtypes and devices.

    Models that differ only in values run the same operations, so what holds for one model's prefixes holds for all.
    """
    modules = tuple((name, type(module)) for name, module in model.named_modules())
    parameters = ((name, weight.shape, weight.dtype, weight.device) for name, weight in model.named_parameters())
    return str(model.config), modules, tuple(parameters)


def equal_up_to_rounding(actual: Tensor, expected: Tensor) -> bool:
    """Whether logits are equal up to rounding in their dtype, which differs if the same products have other shapes."""
    tolerance = max(1e-4, 4 * torch.finfo(expected.dtype).eps) * float(expected.abs().max())
    return torch.allclose(actual, expected, rtol=0, atol=tolerance, equal_nan=True)


def _selected(
    input_ids: Tensor, prepared: Prepared, rows: Tensor, columns: Tensor, valid: Tensor
) -> tuple[Tensor, Prepared]:
    """Selects columns (n, k) of rows (n, 1) from the ids and from all tensors that follow them.

    Where ``valid`` is False, ids are the row's last id, which is text, and the other tensors are zero.
    """
    columns = columns.clamp(min=0)
    ids = input_ids[rows, columns].where(valid, input_ids[rows, -1])
    unchanged = {name: value for name, value in prepared.items() if name not in (*BY_TOKEN, *PROMPT_ONLY)}
    by_token = {name: prepared[name] for name in BY_TOKEN if prepared.get(name) is not None}
    return ids, unchanged | {name: value[..., rows, columns] * valid for name, value in by_token.items()}


def _without_pixels(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if not name.startswith(PIXELS)}


def _rows_by_picture(picture_of_row: Sequence[int]) -> list[list[int]]:
    """Returns the rows about each picture."""
    return [
        [row for row, row_picture in enumerate(picture_of_row) if row_picture == picture]
        for picture in range(max(picture_of_row) + 1)
    ]


def _common_length(token_ids: Sequence[Tensor]) -> int:
    """Returns how many leading ids all texts have in common, at least one fewer than each text has."""
    shortest = min(map(len, token_ids)) - 1
    equal_ids = torch.stack([ids[:shortest] == token_ids[0][:shortest] for ids in token_ids]).all(0)
    return int(equal_ids.cumprod(0).sum())
