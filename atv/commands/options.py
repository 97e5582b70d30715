"""The options of all commands: the heading under which ``--help`` lists each, and help texts that commands share."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter, getdoc, signature
from typing import Any, NamedTuple

from docstring_parser import parse
from jsonargparse import lazy_instance

from atv.criteria import Criterion, Wanda
from atv.patterns import Pattern
from atv.selection import DriftTopK, TokenSelection

# Headings in the order of --help; an option is under the same heading in every command.
HEADINGS: Mapping[str, tuple[str, ...]] = {
    "Model": ("folder", "folders", "model", "base", "min_pixels", "max_pixels", "offload", "trust_remote_code"),
    "Calibration data": ("calibration", "samples", "validation", "max_length"),
    "Method": (
        *("selection", "criterion", "refine", "reconstruct", "pattern", "sparsity", "allocation"),
        *("targets", "propagate"),
    ),
    "Quantization": ("method", "bits", "group_size"),
    "Picture": ("image", "question", "answer", "sample", "linear"),
    "Questions": ("benchmark", "data", "evaluation", "split", "groups", "max_new_tokens", "dense"),
    "Training": (
        *("teacher", "epochs", "learning_rate", "weight_decay", "warmup", "lora_rank", "lora_alpha", "train_also"),
        *("gradient_checkpointing", "checkpoint_every"),
    ),
    "Ablations": (
        *("file", "sparsities", "patterns", "language", "seeds", "claimed_seeds", "processes", "shard"),
        *("decide", "budget", "columns", "effect", "power"),
    ),
    "Speed": ("prompt_tokens", "new_tokens", "repeats"),
    "Answers": ("flips",),
    "Results": (
        *("output", "results", "beside", "logger", "scores", "push_to_hub", "entity", "project"),
        "print_lmms_eval",
    ),
    "Run": ("seed", "batch_size", "workers", "plugin", "trainer"),
}

# Help texts of options that several commands share, as a docstring; a command's own docstring takes precedence.
SHARED = """Options of several commands.

Args:
    folder: Folder of a pruned model, as atv prune writes it.
    model: Vision-language model: a folder with config.json, safetensors and processor; a Hugging Face hub id
        (owner/name or owner/name@revision); "bundled" for the small model that ships with atv; or "everyday" for the
        model that `make everyday-model` builds.
    calibration: Calibration set: conversations with pictures, whose activations show which weights matter. A file, a
        folder, a hub id, a class name or dotted path, "bundled" or "everyday". Arguments of a class are given as
        --calibration.NAME; --calibration.help CLASS explains them. CLASS:ARGUMENT gives a class its first argument,
        such as BenchmarkQuestions:bundled; "3*SOURCE + SOURCE" mixes several sources by weight. Default: "everyday" for
        the everyday model and models pruned from it, otherwise "bundled".
    samples: Number of calibration samples, drawn by the seed.
    max_length: Maximum length of a sample in tokens; a longer sample loses text from its end, never part of a picture.
    min_pixels: Smallest area of a picture in pixels; smaller pictures are enlarged. Only for processors like Qwen-VL's,
        which are saved with this setting.
    max_pixels: Largest area of a picture in pixels; larger pictures are shrunk and become fewer visual tokens.
    selection: Rule that selects the tokens of each sample to calibrate on: a class name or dotted path. Arguments of a
        class are given as --selection.NAME; --selection.help CLASS explains them.
    criterion: Rule that scores weights, of which those with the lowest scores are pruned: a class name or dotted path,
        with arguments as for selection.
    pattern: Where zeros may be: "unstructured" (each row of a weight matrix loses the same share), N:M such as 2:4 (N
        of every M inputs of a row are kept), or a class name or dotted path.
    sparsity: Share of the weights to prune, in [0, 1). Default: 0.5, or the share that N:M implies.
    method: Rule that rounds weights: Nearest, GPTQ, AWQ, or a class from a plug-in, with arguments as for selection.
    bits: Number of bits per weight: 3, 4 or 8.
    group_size: Number of consecutive inputs of a row that share a scale, or "row" for all of them. Default: 128, or
        whole rows if 128 does not divide the number of inputs of every Linear.
    propagate: Whether to calibrate each block on the outputs of the pruned blocks before it; false calibrates all
        blocks on the dense model (one-shot).
    batch_size: Number of calibration samples in one forward pass.
    benchmark: Public benchmarks to ask in place of the suite, as a list or separated by commas: OKVQA, VizWiz, TextVQA,
        GQA, POPE, ScienceQA, MMBench, MME, MMMU, a class from a plug-in, or "all" for these nine.
    data: Folder with a local copy of a benchmark's data set (parquet files laid out as on the hub, or saved to disk),
        or with one such folder for each benchmark. Default: the data are downloaded from the hub.
    evaluation: Questions to ask: "bundled" or "everyday" (suites of nine tasks each), or the folder of a saved data set
        with the same columns. Default: "everyday" for the everyday model and models pruned from it, otherwise
        "bundled".
    split: Split of the suite: dev or test; the everyday suite also has unseen, with drawings that training never
        showed. Each benchmark has its own split. Default: test.
    groups: Number of question groups to ask of each task or benchmark, counted from the first; a group is a question
        with its rotations or its pair. Default: all.
    seed: Seed of every random draw, both of the samples and inside rules.
    plugin: Python file, or list of files, with your own classes (rules, data, benchmarks); imported before the other
        options are read.
    trainer: Options of lightning.Trainer, such as --trainer.accelerator gpu, --trainer.devices 2 or --trainer.precision
        bf16-mixed.
    trust_remote_code: Whether Python code that comes with a model may run on this machine.
"""


class Option(NamedTuple):
    """An option's name, heading, help text and default (``Parameter.empty`` if the option is required)."""

    name: str
    heading: str
    help: str
    default: Any


def parts_of(command: Callable[..., None]) -> dict[str, type[Any]]:
    """Returns the arguments of a command that are dataclasses, each field of which is an option of its own."""
    annotations = {name: parameter.annotation for name, parameter in signature(command).parameters.items()}
    return {
        name: annotation
        for name, annotation in annotations.items()
        if isinstance(annotation, type) and is_dataclass(annotation)
    }


def parameters_of(command: Callable[..., None]) -> dict[str, Parameter]:
    """Returns the parameters of a command, with each dataclass replaced by its fields."""
    parameters: dict[str, Parameter] = {}
    dataclasses = parts_of(command)
    for name, parameter in signature(command).parameters.items():
        dataclass_type = dataclasses.get(name)
        parameters |= {name: parameter} if dataclass_type is None else dict(signature(dataclass_type).parameters)
    return parameters


def options_of(command: Callable[..., None]) -> Iterator[Option]:
    """Yields the options of a command by heading, and under each heading in the order of the signature."""
    descriptions = _arguments(SHARED)
    for documented in (*parts_of(command).values(), command):
        descriptions |= _arguments(getdoc(documented) or "")
    for heading, names in HEADINGS.items():
        for name, parameter in parameters_of(command).items():
            if name in names:
                yield Option(name, heading, descriptions[name], parameter.default)


def gathered(command: Callable[..., None], options: dict[str, Any]) -> dict[str, Any]:
    """Returns a command's arguments, with its dataclasses built from the options that are their fields."""
    for name, dataclass_type in parts_of(command).items():
        options[name] = dataclass_type(**{field.name: options.pop(field.name) for field in fields(dataclass_type)})
    return options


def paragraphs(documented: object) -> list[str]:
    """Returns the paragraphs of a docstring before its sections, each as one line."""
    text = (getdoc(documented) or "").split("\n\nArgs:")[0].split("\n\nRaises:")[0]
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _arguments(doc: str) -> dict[str, str]:
    """Returns the descriptions of a docstring's arguments by name."""
    return {entry.arg_name: " ".join((entry.description or "").split()) for entry in parse(doc).params}


def with_underscores(argument: str) -> str:
    """Replaces the hyphens in an option's name with underscores; leaves any other word of the command line alone.

    >>> with_underscores("--max-length=5"), with_underscores("--trainer.max-steps"), with_underscores("out-of-here")
    ('--max_length=5', '--trainer.max_steps', 'out-of-here')
    """
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


@dataclass(frozen=True)
class Rules:
    """The rules that select tokens, score weights and place the zeros, and the sparsity."""

    selection: TokenSelection = lazy_instance(DriftTopK)
    criterion: Criterion = lazy_instance(Wanda)
    pattern: str | Pattern = "unstructured"
    sparsity: float | None = None
