"""The options of all commands: under which heading ``--help`` lists each, and what those that commands share mean."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter, getdoc, signature
from typing import Any, NamedTuple

from docstring_parser import parse
from jsonargparse import lazy_instance

from atv.criteria import Criterion, Wanda
from atv.patterns import Pattern
from atv.selection import DriftTopK, TokenSelection

# Headings in the order of --help; an option stands under one and the same in every command.
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

# What several commands mean by one name, in the form of a docstring; a command's own docstring goes first.
SHARED = """Options of several commands.

Args:
    folder: Folder of a pruned model, as atv prune writes it.
    model: Vision-language model: a folder with config.json, safetensors and processor; an id of the Hugging Face hub
        (owner/name or owner/name@revision); "bundled", the small one that ships with atv; or "everyday", the one that
        `make everyday-model` puts together.
    calibration: Conversations with pictures whose activations say which weights matter: a file, a folder, a hub id, the
        name or dotted path of a class, "bundled" or "everyday". The arguments of a class follow as --calibration.NAME;
        --calibration.help CLASS explains them. CLASS:ARGUMENT is a class with its first one, such as
        BenchmarkQuestions:bundled; "3*SOURCE + SOURCE" mixes several by weights. Default: "everyday" for the everyday
        model and what was pruned from it, else "bundled".
    samples: Number of calibration samples, drawn by the seed.
    max_length: Longest sample in tokens; a longer one loses text from its end, never a part of a picture.
    min_pixels: Smallest area of a picture in pixels; smaller ones are enlarged (Qwen-VL's kind of processor, which is
        written with it).
    max_pixels: Largest area of a picture in pixels; larger ones are shrunk and become fewer visual tokens.
    selection: Rule that picks the tokens of each sample whose activations count: a class name or dotted path. The
        arguments of a class follow as --selection.NAME; --selection.help CLASS explains them.
    criterion: Score of a weight, of which the lowest are pruned: a class name or dotted path, its arguments as for
        selection.
    pattern: Where zeros may lie: "unstructured" (each row of a weight loses the same share), N:M such as 2:4 (N of
        every M inputs of a row stay), or a class name or dotted path.
    sparsity: Share of the weights to prune, in [0, 1). Default: 0.5, or what N:M implies.
    method: Rule by which weights are rounded: Nearest, GPTQ, AWQ, or a class of a plug-in, its arguments as for
        selection.
    bits: Bits of a weight: 3, 4 or 8.
    group_size: Number of consecutive inputs of a row that share a scale, or "row" for all of them. Default: 128, or
        whole rows where that does not divide the inputs of every Linear.
    propagate: Whether a block is calibrated on what the pruned blocks before it give; false calibrates all blocks on
        the dense model (one-shot).
    batch_size: Calibration samples in one forward pass.
    benchmark: Public benchmarks to ask in place of the suite, with commas between them or as a list: OKVQA,
        VizWiz, TextVQA, GQA, POPE, ScienceQA, MMBench, MME, MMMU, a class of a plug-in, or "all" for these nine.
    data: Folder with a local copy of a benchmark's data set (parquet files laid out as on the hub, or saved to disk),
        or with a folder for each benchmark. Default: downloaded from the hub.
    evaluation: Questions to ask: "bundled" or "everyday" (a suite of nine tasks each), or the folder of a saved data
        set with the same columns. Default: "everyday" for the everyday model and what was pruned from it, else
        "bundled".
    split: Part of the suite: dev or test; of the everyday one also unseen, drawings that training never showed. A
        benchmark has its own. Default: test.
    groups: Number of groups of questions of each task or benchmark, the first ones; a group is a question with its
        rotations or its pair. Default: all.
    seed: Number that fixes every random draw, of the samples and inside rules.
    plugin: Python file, or list of files, with classes of your own (rules, data, benchmarks), imported before other
        options are read.
    trainer: Options of lightning.Trainer, such as --trainer.accelerator gpu, --trainer.devices 2 or --trainer.precision
        bf16-mixed.
    trust_remote_code: Whether Python code that comes with a model may run on this machine.
"""


class Option(NamedTuple):
    """An option's name, its heading, its help, and its default (``Parameter.empty`` where it is required)."""

    name: str
    heading: str
    help: str
    default: Any


def parts_of(command: Callable[..., None]) -> dict[str, type[Any]]:
    """The arguments of a command that are dataclasses: each of their fields is an option by itself."""
    kinds = {name: parameter.annotation for name, parameter in signature(command).parameters.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and is_dataclass(kind)}


def parameters_of(command: Callable[..., None]) -> dict[str, Parameter]:
    """What can be given to a command, a dataclass's fields in its place."""
    found: dict[str, Parameter] = {}
    parts = parts_of(command)
    for name, parameter in signature(command).parameters.items():
        kind = parts.get(name)
        found |= {name: parameter} if kind is None else dict(signature(kind).parameters)
    return found


def options_of(command: Callable[..., None]) -> Iterator[Option]:
    """The options of a command, by heading, and under one in the order of its signature."""
    said = _arguments(SHARED)
    for described in (*parts_of(command).values(), command):
        said |= _arguments(getdoc(described) or "")
    for heading, names in HEADINGS.items():
        for name, parameter in parameters_of(command).items():
            if name in names:
                yield Option(name, heading, said[name], parameter.default)


def gathered(command: Callable[..., None], options: dict[str, Any]) -> dict[str, Any]:
    """A command's arguments, made of its options."""
    for name, kind in parts_of(command).items():
        options[name] = kind(**{each.name: options.pop(each.name) for each in fields(kind)})
    return options


def paragraphs(documented: object) -> list[str]:
    """What a docstring says before its sections, each paragraph in one line."""
    said = (getdoc(documented) or "").split("\n\nArgs:")[0].split("\n\nRaises:")[0]
    return [" ".join(part.split()) for part in said.split("\n\n")]


def _arguments(doc: str) -> dict[str, str]:
    """Name -> description, of a docstring's arguments."""
    return {entry.arg_name: " ".join((entry.description or "").split()) for entry in parse(doc).params}


def with_underscores(argument: str) -> str:
    """A word of the command line; hyphens in an option's name count as underscores.

    >>> with_underscores("--max-length=5"), with_underscores("--trainer.max-steps"), with_underscores("out-of-here")
    ('--max_length=5', '--trainer.max_steps', 'out-of-here')
    """
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


@dataclass(frozen=True)
class Rules:
    """Which tokens count, how a weight is scored, where zeros lie, and how many."""

    selection: TokenSelection = lazy_instance(DriftTopK)
    criterion: Criterion = lazy_instance(Wanda)
    pattern: str | Pattern = "unstructured"
    sparsity: float | None = None
