"""Measures models' sizes and speeds on this machine; models take turns at prefill and decode, to be comparable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, ProcessorMixin, StoppingCriteriaList

from atv.data.conversations import encode
from atv.evaluation.decoding import decodes, next_step, whole_prompts
from atv.model.batch import cast_floats
from atv.model.loading import load_model, model_folder
from atv.model.weight_files import weight_files
from atv.plugins import at_least
from atv.runtime.timing import interleaved, now

QUESTION = "What is in the picture?"


@dataclass(frozen=True)
class Turn:
    """Tokens per second of one turn: of the prompt, read at once, and of the answer, generated token by token."""

    prefill: float
    decode: float


def paired_ratios(turns: Sequence[Turn], reference_turns: Sequence[Turn], phase: str) -> list[float]:
    """Returns how many times as fast ``turns`` is as ``reference_turns`` in "prefill" or "decode", turn by turn."""
    return [
        getattr(own_turn, phase) / getattr(other_turn, phase)
        for own_turn, other_turn in zip(turns, reference_turns, strict=True)
    ]


@dataclass(frozen=True)
class Speed:
    """A model's size, and its speed turn by turn; the turns of models that were measured together form pairs.

    Attributes:
        parameters: number of parameters in the loaded model, shared ones once; ``nonzero`` of them are not zero.
        bytes: size of its weight files.
        prompt: number of tokens in the prompt, including visual tokens.
    """

    parameters: int
    nonzero: int
    bytes: int
    prompt: int
    turns: Sequence[Turn]

    def median(self, part: str) -> float:
        """Returns the median number of tokens per second in "prefill" or "decode"."""
        return median(getattr(turn, part) for turn in self.turns)

    def over(self, other: "Speed", part: str) -> tuple[float, float, float]:
        """Returns how many times as fast as ``other`` it is: the median, minimum and maximum of the turns' ratios."""
        ratios = paired_ratios(self.turns, other.turns, part)
        return median(ratios), min(ratios), max(ratios)


def measure(
    *models: str | Path,
    prompt_tokens: int = 256,
    new_tokens: int = 32,
    repeats: int = 5,
    trust_remote_code: bool = False,
) -> dict[str, Speed]:
    """Measures models' sizes, and times them in turns on the GPU, or on the CPU if there is none, all held in memory.

    Each model gets one picture and a question that is repeated until the prompt is long enough, as a batch of one in
    the dtype of its files. What ``quantize`` wrote becomes floats when it is loaded, so it is no faster. In a turn,
    every model sees the picture and reads the prompt (prefill), and then generates ``new_tokens`` tokens one by one
    with a KV cache (decode), whatever they are. Every second turn goes through the models in reverse order. A warm-up
    turn comes first and is discarded.

    Args:
        models: folders, hub ids, "bundled" or "everyday".
        prompt_tokens: minimum length of the prompt, in tokens.
        repeats: number of turns.

    Returns:
        Speeds by model name, in the order given.

    Raises:
        ValueError: if a model is named twice, cannot be loaded, or has a type that decodes in its own way; if a number
            is below 1; or if there are more tokens than a model has positions.
    """
    at_least(1, prompt_tokens=prompt_tokens, new_tokens=new_tokens, repeats=repeats)
    names = [str(model) for model in models]
    if len(set(names)) < len(names):
        raise ValueError(f"models: expected each model once, got {', '.join(names)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    runners = {name: _Runner.of(name, prompt_tokens, new_tokens, device, trust_remote_code) for name in names}
    runs = {name: runner.turn for name, runner in runners.items()}
    interleaved(runs, 1)
    turns = interleaved(runs, repeats)
    return {name: runner.speed(turns[name]) for name, runner in runners.items()}


@dataclass(frozen=True)
class _Runner:
    """A model on its device, with a prompt."""

    folder: Path
    model: PreTrainedModel
    inputs: Mapping[str, Any]
    new_tokens: int

    @classmethod
    def of(cls, name: str, prompt: int, new_tokens: int, device: torch.device, trust_remote_code: bool) -> "_Runner":
        folder = model_folder(name, trust_remote_code)
        model, processor = load_model(folder, trust_remote_code, quantized=True)
        if not decodes(model):
            raise ValueError(f"model: {type(model).__name__} ({name!r}) decodes in its own way and cannot be timed")
        _check_length(name, model, prompt, new_tokens)
        model.to(device)  # type: ignore[arg-type]
        return cls(folder, model, cast_floats(picture_prompt(processor, prompt), model.dtype, device), new_tokens)

    def turn(self) -> Turn:
        """Times one prompt, with everything that precedes its first token, and its answer."""
        watch, generate = _Watch(self.new_tokens), self.model.generate
        # One answer, however many the model's own settings request.
        generation_config = GenerationConfig(
            max_new_tokens=self.new_tokens + 1, do_sample=False, num_beams=1, num_return_sequences=1
        )
        started = now()
        generate(**self.inputs, generation_config=generation_config, custom_generate=watch)  # type: ignore[operator]
        return Turn(
            self._prompt / (watch.prefill_end - started), self.new_tokens / (watch.decode_end - watch.prefill_end)
        )

    @property
    def _prompt(self) -> int:
        return int(self.inputs["input_ids"].shape[1])

    def speed(self, turns: Sequence[Turn]) -> Speed:
        parameters = list(self.model.parameters())
        nonzero = sum(int(parameter.count_nonzero()) for parameter in parameters)
        size = sum(file.stat().st_size for file in weight_files(self.folder))
        return Speed(sum(parameter.numel() for parameter in parameters), nonzero, size, self._prompt, turns)


def _check_length(name: str, model: PreTrainedModel, prompt_tokens: int, new_tokens: int) -> None:
    """Raises ValueError if prompt and answer together are longer than the model has positions for."""
    max_positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if max_positions is not None and prompt_tokens + new_tokens > max_positions:
        raise ValueError(
            f"prompt_tokens and new_tokens: expected at most {max_positions} together, the number of positions of "
            f"{name!r}, got {prompt_tokens} and {new_tokens}"
        )


class _Watch:
    """A greedy loop for ``generate(custom_generate=...)`` with a fixed number of steps; records when its parts end."""

    def __init__(self, steps: int) -> None:
        self.steps, self.prefill_end, self.decode_end = steps, 0.0, 0.0

    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **prepared: Any,
    ) -> Tensor:
        output, prepared = whole_prompts(model, input_ids, prepared)
        self.prefill_end = now()
        for _ in range(self.steps):
            input_ids = torch.cat([input_ids, output.logits[:, -1:].argmax(-1)], dim=1)
            output, prepared = next_step(model, input_ids, prepared)
        self.decode_end = now()
        return input_ids


def picture_prompt(processor: ProcessorMixin, tokens: int) -> dict[str, Any]:
    """Encodes a picture with a question as a prompt of at least ``tokens`` tokens."""

    def encoded(times: int) -> dict[str, Any]:
        turns = [{"role": "user", "text": " ".join([QUESTION] * times)}]
        return encode(processor, [turns], [Image.linear_gradient("L").convert("RGB")], prompt=True)

    once, twice = (encoded(times)["input_ids"].shape[1] for times in (1, 2))
    return encoded(1 + max(0, -(-(tokens - once) // (twice - once))))
