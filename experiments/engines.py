"""Compares ONNX Runtime and OpenVINO with transformers on saved models: the same results, and how fast.

``python -m experiments.engines --engine onnx --models [bundled,out/sparse]``: the exporters of transformers export the
language model to the engine. Visual tokens come from transformers, because the vision tower is never pruned.
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
# Parts that exporters make of a language model: reading a prompt, the head that computes logits, and one more token.
READ, HEAD, WRITE = "language_model", "lm_head", "decode"
Parts = Mapping[str, Callable[..., Any]]
OWN = "transformers"


@dataclass(frozen=True)
class Prompt:
    """Embeddings of a prompt with a picture, (1, length, hidden), and the number of decoding steps that follow."""

    embeddings: Tensor
    steps: int

    @torch.no_grad()
    def answer(self, parts: Parts) -> tuple[Tensor, Turn]:
        """Decodes greedily and returns the logits, (steps + 1, vocabulary), and the speed."""
        length, logits = self.embeddings.shape[1], []
        positions = torch.arange(length + self.steps)[None]
        started = now()
        prompt_output = parts[READ](
            inputs_embeds=self.embeddings, position_ids=positions[:, :length], past_key_values=DynamicCache()
        )
        logits.append(parts[HEAD](input=prompt_output.last_hidden_state[:, -1:]))
        prefill_ended, cache = now(), prompt_output.past_key_values
        for position in range(length, length + self.steps):
            inputs = {"input_ids": logits[-1].argmax(-1), "position_ids": positions[:, position : position + 1]}
            output = parts[WRITE](**inputs, past_key_values=cache)
            logits.append(output.logits)
            cache = output.past_key_values
        return torch.cat(logits, 1)[0], Turn(length / (prefill_ended - started), self.steps / (now() - prefill_ended))


@dataclass(frozen=True)
class Exported:
    """A model in an engine and in transformers."""

    prompt: Prompt
    runs: Mapping[str, Parts]

    def difference(self, engine: str) -> tuple[float, bool]:
        """The largest difference of logits relative to the largest logit, and whether all tokens are the same."""
        ours, theirs = (self.prompt.answer(self.runs[engine_name])[0] for engine_name in (OWN, engine))
        return float((ours - theirs).abs().max() / ours.abs().max()), torch.equal(ours.argmax(-1), theirs.argmax(-1))


def export(name: str, engine: Engine, prompt_tokens: int, new_tokens: int) -> Exported:
    """Exports a model to an engine; weights that ``atv quantize`` wrote are exported as the floats they represent."""
    from transformers.exporters.utils import decompose_for_generation

    model, processor = atv.load(name, quantized=True)
    inputs = picture_prompt(processor, prompt_tokens)
    pieces = decompose_for_generation(model, inputs)
    prompt = Prompt(pieces[READ][1]["inputs_embeds"].detach(), new_tokens)
    runners = _exported(model, inputs, engine)
    return Exported(prompt, {OWN: {part: piece for part, (piece, _) in pieces.items()}, engine: runners})


def _exported(model: PreTrainedModel, inputs: dict[str, Any], engine: Engine) -> Parts:
    """Exports the parts to the engine, which computes in float32 and may use as many threads as PyTorch."""
    from transformers import exporters

    threads = torch.get_num_threads()
    if engine == "onnx":
        from onnxruntime import SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads = threads
        onnx = exporters.OnnxExporter().export_for_generation(model, inputs, exporters.OnnxConfig(dynamic=True))
        return onnx.to("cpu", session_options=options).runners
    # Stateless, so that the cache of one part can be passed on to the other.
    config = exporters.OpenVINOConfig(dynamic=True, stateful=False)
    openvino = exporters.OpenVINOExporter().export_for_generation(model, inputs, config)
    openvino_options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    return openvino.to("cpu", config=openvino_options).runners


def compare(
    models: Sequence[str], engine: Engine = "onnx", prompt_tokens: int = 256, new_tokens: int = 32, repeats: int = 5
) -> None:
    """Export models to an engine, compare its answers with those of transformers, and time both on the CPU, in turns.

    Args:
        models: Folders, "bundled" or "everyday". Speeds are relative to the first.
        engine: Engine to export to: onnx (ONNX Runtime) or openvino.
        prompt_tokens: Minimum length of the prompt in tokens, including those of the picture.
        new_tokens: Number of tokens to generate.
        repeats: Number of turns. Results are medians, with the smallest and the largest.
    """
    exported = {name: export(name, engine, prompt_tokens, new_tokens) for name in models}
    runs = {
        f"{engine_name} {name}": _turn(model.prompt, parts)
        for name, model in exported.items()
        for engine_name, parts in model.runs.items()
    }
    interleaved(runs, 1)
    turns = interleaved(runs, repeats)
    rows = []
    for name, model in exported.items():
        difference, same_tokens = model.difference(engine)
        speeds = [
            _relative_speeds(turns[f"{engine_name} {name}"], turns[f"{engine_name} {models[0]}"])
            for engine_name in (engine, OWN)
        ]
        rows.append([name, f"{difference:.1e}", "yes" if same_tokens else "no", *speeds[0], *speeds[1]])
    header = [f"{engine_name}: {phase}" for engine_name in (engine, OWN) for phase in ("prefill", "decode")]
    print(markdown(["model", "logits differ by", "same tokens", *header], rows))
    prefill, decode = _relative_speeds(turns[f"{engine} {models[0]}"], turns[f"{OWN} {models[0]}"])
    print(f"{models[0]} in {engine}, relative to transformers: prefill {prefill}, decode {decode}")
    packages = ", ".join(f"{package} {version(package)}" for package in (PACKAGES[engine], "transformers", "torch"))
    print(
        f"{packages}; {hardware()}; prompts of {exported[models[0]].prompt.embeddings.shape[1]} tokens, {repeats} turns"
    )


def _turn(prompt: Prompt, parts: Parts) -> Callable[[], Turn]:
    return lambda: prompt.answer(parts)[1]


def _relative_speeds(turns: Sequence[Turn], baseline_turns: Sequence[Turn]) -> list[str]:
    """Relative speed in prefill and in decode: the median of the turns, with the smallest and the largest."""
    if turns is baseline_turns:
        return ["1", "1"]
    ratios = (paired_ratios(turns, baseline_turns, phase) for phase in ("prefill", "decode"))
    return [
        f"{median(phase_ratios):.2f} ({min(phase_ratios):.2f} to {max(phase_ratios):.2f})" for phase_ratios in ratios
    ]


if __name__ == "__main__":
    auto_cli(compare, as_positional=False)
