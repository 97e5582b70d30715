"""Greedy decoding in which finished answers leave the batch, so that a step costs only what the remaining rows cost."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Cache,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteriaList,
    cache_utils,
)
from transformers.generation.utils import MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL, GenerationMixin

from atv.model.decoder import CACHES, cache_of

Prepared = dict[str, Any]
# Runs the prompts, given their ids and the other inputs that ``generate`` prepared. Returns the model's output and the
# inputs of the next step.
Prefill = Callable[[PreTrainedModel, Tensor, Prepared], tuple[Any, Prepared]]

# Tensors with one entry per token: (..., batch, length).
BY_TOKEN = ("attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")
# Inputs that only the first forward reads.
PROMPT_ONLY = MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL
_SETTINGS = (*CACHES, "use_cache", "logits_to_keep")
# Kinds of cache layers whose rows are rows of tensors and nothing else; the last one exists since transformers 5.23.
_PLAIN_LAYER_NAMES = ("DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer")
_PLAIN_LAYERS = tuple(getattr(cache_utils, name) for name in _PLAIN_LAYER_NAMES if hasattr(cache_utils, name))


def decodes(model: PreTrainedModel) -> bool:
    """Whether ``generate`` accepts a decoding loop; a model type's own ``generate`` may do what a loop cannot know."""
    return getattr(type(model), "generate", None) is GenerationMixin.generate


def greedy(prefill: Prefill) -> Callable[..., Tensor]:
    """Returns a loop for ``generate(custom_generate=...)``, which prepares ids, positions, masks and criteria as usual.

    The answers equal those of transformers' own greedy search. Finished rows leave the batch if it is known how to
    remove them from everything that the model carries from step to step.
    """

    def loop(
        model: PreTrainedModel,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **prepared: Any,
    ) -> Tensor:
        prompts, prompt_length = input_ids, input_ids.shape[1]
        max_new_tokens = int(generation_config.max_length or 0) - prompt_length
        generated = prompts.new_full((len(prompts), max_new_tokens), int(generation_config.pad_token_id or 0))
        rows = torch.arange(len(prompts), device=prompts.device)
        unfinished = torch.ones_like(rows, dtype=torch.bool)
        output, prepared = prefill(model, input_ids, prepared)
        step = 0
        while True:
            scores = logits_processor(input_ids, output.logits[:, -1].float())  # type: ignore[arg-type]
            tokens = scores.argmax(-1)
            generated[rows[unfinished], step] = tokens[unfinished]
            input_ids = torch.cat([input_ids, tokens[:, None]], dim=1)
            unfinished &= ~stopping_criteria(input_ids, scores)
            step += 1
            if not unfinished.any():
                return torch.cat([prompts, generated[:, :step]], dim=1)
            if not logits_processor and not unfinished.all() and rows_can_leave(prepared):
                input_ids, rows, prepared = input_ids[unfinished], rows[unfinished], only_rows(prepared, unfinished)
                unfinished = unfinished[unfinished]
            output, prepared = next_step(model, input_ids, prepared)

    return loop


def whole_prompts(model: PreTrainedModel, input_ids: Tensor, prepared: Prepared) -> tuple[Any, Prepared]:
    """Runs the prefill of ordinary generation: all prompts in one forward."""
    output = forward(model, input_ids, prepared, is_first_iteration=True)
    return output, carried_on(model, output, prepared)


def next_step(model: PreTrainedModel, input_ids: Tensor, prepared: Prepared) -> tuple[Any, Prepared]:
    """Runs one forward on the last token of each row."""
    output = forward(model, input_ids, prepared, next_sequence_length=1)
    return output, carried_on(model, output, prepared)


def forward(model: PreTrainedModel, input_ids: Tensor, prepared: Prepared, **how: Any) -> Any:
    """Runs one forward of the model on inputs from the model's own ``prepare_inputs_for_generation``."""
    inputs = model.prepare_inputs_for_generation(input_ids, **how, **prepared)  # type: ignore[operator]
    return model(**inputs, return_dict=True)


def carried_on(model: PreTrainedModel, output: Any, prepared: Prepared) -> Prepared:
    """Returns ``prepared``, updated for the next token."""
    update: Any = model._update_model_kwargs_for_generation
    return update(output, dict(prepared), is_encoder_decoder=False)


def unknown(prepared: Prepared) -> set[str]:
    """Returns the names of inputs, passed from step to step, for which it is not known how they belong to rows."""
    passed_on = {name for name, value in prepared.items() if value is not None}
    return passed_on - {*BY_TOKEN, *PROMPT_ONLY, *_SETTINGS}


def rows_can_leave(prepared: Prepared) -> bool:
    """Whether everything that is passed to the next step is known and consists of plain rows."""
    positions = prepared.get("position_ids") is not None
    return positions and not unknown(prepared) and plain(cache_of(prepared))


def plain(cache: Any) -> bool:
    """Whether a cache holds keys and values by row, and no state that rows share or that padding changes."""
    return isinstance(cache, Cache) and all(type(layer) in _PLAIN_LAYERS for layer in cache.layers)


def only_rows(prepared: Prepared, kept_rows: Tensor) -> Prepared:
    """Returns the inputs of the next step for the rows in ``kept_rows``, bool (batch,); changes the cache in place."""
    row_indices = kept_rows.nonzero().squeeze(1)
    cache_of(prepared).batch_select_indices(row_indices)
    by_token = {name: prepared[name] for name in BY_TOKEN if prepared.get(name) is not None}
    return prepared | {name: value.index_select(-2, row_indices) for name, value in by_token.items()}
