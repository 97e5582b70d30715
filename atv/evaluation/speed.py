"""What models weigh and how fast they answer here: prefill and decode in turns, so that they can be compared."""

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
    """Tokens a second of one turn: of the prompt, read at once, and of the answer, one after the other."""

    prefill: float
    decode: float


def paired_ratios(own: Sequence[Turn], other: Sequence[Turn], part: str) -> list[float]:
    """Times as fast in "prefill" or "decode", turn by turn."""
    return [getattr(mine, part) / getattr(theirs, part) for mine, theirs in zip(own, other, strict=True)]


@dataclass(frozen=True)
class Speed:
    """What a model weighs, and its speed turn by turn; the turns of models that were measured together belong together.

    Attributes:
        parameters: in the model as it is loaded, shared ones once; ``nonzero`` of them are not zero.
        bytes: of its files of weights.
        prompt: tokens of the prompt, visual ones among them.
    """

    parameters: int
    nonzero: int
    bytes: int
    prompt: int
    turns: Sequence[Turn]

    def median(self, part: str) -> float:
        """Tokens a second of "prefill" or "decode"."""
        return median(getattr(turn, part) for turn in self.turns)

    def over(self, other: "Speed", part: str) -> tuple[float, float, float]:
        """Times as fast as another: the median of the turns' ratios, the least and the greatest."""
        ratios = paired_ratios(self.turns, other.turns, part)
        return median(ratios), min(ratios), max(ratios)


def measure(
    *models: str | Path,
    prompt_tokens: int = 256,
    new_tokens: int = 32,
    repeats: int = 5,
    trust_remote_code: bool = False,
) -> dict[str, Speed]:
    """Weighs models and times them in turns on the GPU, or the CPU where there is none, all of them held in memory.

    Each is given one picture and a question that is repeated until the prompt is long enough, alone in its batch, in
    the dtype of its files; what ``quantize`` wrote becomes floats when it is loaded, so it is no faster. A turn lets
    every model see the picture and read the prompt (prefill) and then write ``new_tokens`` one by one with a cache of
    keys and values (decode), whatever they are; every second turn goes through the models backwards. A first turn is
    thrown away.

    Args:
        models: folders, hub ids, "bundled" or "everyday".
        prompt_tokens: tokens of the prompt, at least.
        repeats: turns.

    Returns:
        By the models' names, in their order.

    Raises:
        ValueError: for a model that is named twice, cannot be loaded, or whose type decodes in a way of its own, for
            numbers below 1, and for more tokens than a model has positions.
    """
    at_least(1, prompt_tokens=prompt_tokens, new_tokens=new_tokens, repeats=repeats)
    names = [str(model) for model in models]
    if len(set(names)) < len(names):
        raise ValueError(f"models: each is to be named once, got {', '.join(names)}")
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
            raise ValueError(f"model: {type(model).__name__} ({name!r}) decodes in a way of its own, and is not timed")
        _check_length(name, model, prompt, new_tokens)
        model.to(device)  # type: ignore[arg-type]
        return cls(folder, model, cast_floats(picture_prompt(processor, prompt), model.dtype, device), new_tokens)

    def turn(self) -> Turn:
        """One prompt, all that comes before its first token, and its answer."""
        watch, generate = _Watch(self.new_tokens), self.model.generate
        # One answer, however many the model's own settings ask for.
        how = GenerationConfig(max_new_tokens=self.new_tokens + 1, do_sample=False, num_beams=1, num_return_sequences=1)
        started = now()
        generate(**self.inputs, generation_config=how, custom_generate=watch)  # type: ignore[operator]
        return Turn(self._prompt / (watch.read - started), self.new_tokens / (watch.done - watch.read))

    @property
    def _prompt(self) -> int:
        return int(self.inputs["input_ids"].shape[1])

    def speed(self, turns: Sequence[Turn]) -> Speed:
        own = list(self.model.parameters())
        nonzero = sum(int(parameter.count_nonzero()) for parameter in own)
        size = sum(file.stat().st_size for file in weight_files(self.folder))
        return Speed(sum(parameter.numel() for parameter in own), nonzero, size, self._prompt, turns)


def _check_length(name: str, model: PreTrainedModel, prompt: int, new_tokens: int) -> None:
    """Raises ValueError for a prompt and an answer that are longer together than the model has positions for."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and prompt + new_tokens > most:
        raise ValueError(
            f"prompt_tokens and new_tokens: expected {most} together at most, the positions of {name!r}, "
            f"got {prompt} and {new_tokens}"
        )


class _Watch:
    """A loop for ``generate(custom_generate=...)``: greedy, of a fixed number of steps, with the times of its parts."""

    def __init__(self, steps: int) -> None:
        self.steps, self.read, self.done = steps, 0.0, 0.0

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
        self.read = now()
        for _ in range(self.steps):
            input_ids = torch.cat([input_ids, output.logits[:, -1:].argmax(-1)], dim=1)
            output, prepared = next_step(model, input_ids, prepared)
        self.done = now()
        return input_ids


def picture_prompt(processor: ProcessorMixin, tokens: int) -> dict[str, Any]:
    """A picture with a question of at least so many tokens."""

    def encoded(times: int) -> dict[str, Any]:
        turns = [{"role": "user", "text": " ".join([QUESTION] * times)}]
        return encode(processor, [turns], [Image.linear_gradient("L").convert("RGB")], prompt=True)

    once, twice = (encoded(times)["input_ids"].shape[1] for times in (1, 2))
    return encoded(1 + max(0, -(-(tokens - once) // (twice - once))))
