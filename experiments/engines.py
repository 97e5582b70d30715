"""Folders of ours in other engines: whether ONNX Runtime and OpenVINO compute what transformers does, and how fast.

``python -m experiments.engines --engine onnx --models [bundled,out/sparse]``: transformers' own exporters hand the
language model to the engine; the picture's tokens come from transformers, since the tower is never pruned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median
from typing import Any, Literal

import torch
from jsonargparse import auto_cli
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

import atv
from atv.evaluation.speed import Turn, paired_ratios, picture_prompt
from atv.records.page_parts import markdown
from atv.records.provenance import hardware
from atv.runtime.timing import interleaved, now

Engine = Literal["onnx", "openvino"]
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
# What exporters make of a language model: the reading of a prompt, the head that makes logits, and one token more.
READ, HEAD, WRITE = "language_model", "lm_head", "decode"
Parts = Mapping[str, Callable[..., Any]]
OWN = "transformers"


@dataclass(frozen=True)
class Prompt:
    """What a prompt with a picture is embedded to (1, length, hidden), and how many tokens follow it."""

    embeddings: Tensor
    steps: int

    @torch.no_grad()
    def answer(self, parts: Parts) -> tuple[Tensor, Turn]:
        """Logits of greedy decoding (steps + 1, vocabulary), and the time that it took."""
        length, logits = self.embeddings.shape[1], []
        places = torch.arange(length + self.steps)[None]
        started = now()
        read = parts[READ](
            inputs_embeds=self.embeddings, position_ids=places[:, :length], past_key_values=DynamicCache()
        )
        logits.append(parts[HEAD](input=read.last_hidden_state[:, -1:]))
        was_read, cache = now(), read.past_key_values
        for place in range(length, length + self.steps):
            given = {"input_ids": logits[-1].argmax(-1), "position_ids": places[:, place : place + 1]}
            output = parts[WRITE](**given, past_key_values=cache)
            logits.append(output.logits)
            cache = output.past_key_values
        return torch.cat(logits, 1)[0], Turn(length / (was_read - started), self.steps / (now() - was_read))


@dataclass(frozen=True)
class Exported:
    """A model in an engine, beside itself in transformers."""

    prompt: Prompt
    runs: Mapping[str, Parts]

    def difference(self, engine: str) -> tuple[float, bool]:
        """Of the logits, the largest as a share of the largest logit; and whether all tokens are the same."""
        ours, theirs = (self.prompt.answer(self.runs[who])[0] for who in (OWN, engine))
        return float((ours - theirs).abs().max() / ours.abs().max()), torch.equal(ours.argmax(-1), theirs.argmax(-1))


def export(name: str, engine: Engine, prompt_tokens: int, new_tokens: int) -> Exported:
    """A model's folder in an engine; what `atv quantize` wrote goes there as the floats that it stands for."""
    from transformers.exporters.utils import decompose_for_generation

    model, processor = atv.load(name, quantized=True)
    inputs = picture_prompt(processor, prompt_tokens)
    pieces = decompose_for_generation(model, inputs)
    prompt = Prompt(pieces[READ][1]["inputs_embeds"].detach(), new_tokens)
    runners = _exported(model, inputs, engine)
    return Exported(prompt, {OWN: {part: piece for part, (piece, _) in pieces.items()}, engine: runners})


def _exported(model: PreTrainedModel, inputs: dict[str, Any], engine: Engine) -> Parts:
    """The parts in the engine, which may use as many threads as PyTorch; computed in float32."""
    from transformers import exporters

    threads = torch.get_num_threads()
    if engine == "onnx":
        from onnxruntime import SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads = threads
        onnx = exporters.OnnxExporter().export_for_generation(model, inputs, exporters.OnnxConfig(dynamic=True))
        return onnx.to("cpu", session_options=options).runners
    # Without a state of its own, so that what one part read is handed on to the other.
    config = exporters.OpenVINOConfig(dynamic=True, stateful=False)
    openvino = exporters.OpenVINOExporter().export_for_generation(model, inputs, config)
    precise = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    return openvino.to("cpu", config=precise).runners


def compare(
    models: Sequence[str], engine: Engine = "onnx", prompt_tokens: int = 256, new_tokens: int = 32, repeats: int = 5
) -> None:
    """Hand models to an engine, compare its answers with transformers', and time both on the CPU, in turns.

    Args:
        models: Folders, "bundled" or "everyday"; speeds are those of the first times so much.
        engine: Where they go: onnx (ONNX Runtime) or openvino.
        prompt_tokens: Number of tokens of the prompt, at least; those of the picture count.
        new_tokens: Number of tokens to write.
        repeats: Number of turns; medians are shown, with the least and the greatest.
    """
    made = {name: export(name, engine, prompt_tokens, new_tokens) for name in models}
    runs = {
        f"{who} {name}": _turn(model.prompt, parts) for name, model in made.items() for who, parts in model.runs.items()
    }
    interleaved(runs, 1)
    turns = interleaved(runs, repeats)
    rows = []
    for name, model in made.items():
        share, same = model.difference(engine)
        times = [_times(turns[f"{who} {name}"], turns[f"{who} {models[0]}"]) for who in (engine, OWN)]
        rows.append([name, f"{share:.1e}", "yes" if same else "no", *times[0], *times[1]])
    header = [f"{who}: {part}" for who in (engine, OWN) for part in ("prefill", "decode")]
    print(markdown(["model", "logits differ by", "same tokens", *header], rows))
    prefill, decode = _times(turns[f"{engine} {models[0]}"], turns[f"{OWN} {models[0]}"])
    print(f"{models[0]} in {engine} against transformers: prefill {prefill}, decode {decode}")
    packages = ", ".join(f"{package} {version(package)}" for package in (PACKAGES[engine], "transformers", "torch"))
    print(f"{packages}; {hardware()}; prompts of {made[models[0]].prompt.embeddings.shape[1]} tokens, {repeats} turns")


def _turn(prompt: Prompt, parts: Parts) -> Callable[[], Turn]:
    return lambda: prompt.answer(parts)[1]


def _times(own: Sequence[Turn], other: Sequence[Turn]) -> list[str]:
    """Times as fast in prefill and in decode: the median of the turns, the least and the greatest."""
    if own is other:
        return ["1", "1"]
    ratios = (paired_ratios(own, other, part) for part in ("prefill", "decode"))
    return [f"{median(of):.2f} ({min(of):.2f} to {max(of):.2f})" for of in ratios]


if __name__ == "__main__":
    auto_cli(compare, as_positional=False)
