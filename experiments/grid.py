"""The runs of a model: common.yaml, then one file each from models/, methods/ and settings/; later files override."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, auto_cli

from atv.cli import parser
from atv.records.files import writable, write_text

HERE = Path(__file__).parent
# In the order of the paper's tables.
METHODS, SETTINGS = ("sparsegpt", "wanda", "amia", "atv"), ("50", "60", "2_4", "4_8")
PAPER = ("llava_next_8b", "llava_onevision_7b", "qwen2_vl_7b", "qwen2_5_vl_7b")
ALL = "all"


@dataclass(frozen=True)
class Variant:
    """One run: how the model of ``model_file`` is pruned, and how much."""

    model_file: Path
    method: str
    setting: str

    @property
    def name(self) -> str:
        """The run's name, such as atv_2_4."""
        return f"{self.method}_{self.setting}"

    def options(self) -> dict[str, Any]:
        """All options of ``atv prune`` except the output."""
        files = (HERE / "methods" / f"{self.method}.yaml", HERE / "settings" / f"{self.setting}.yaml")
        return complete(HERE / "common.yaml", self.model_file, *files)

    def yaml(self) -> str:
        """The same options as the text of a file for ``atv prune --config``."""
        return yaml.safe_dump(self.options(), sort_keys=False)


def complete(*files: Path) -> dict[str, Any]:
    """Merges the options of several files, checks them with the parser of ``atv prune`` and fills in its defaults.

    Raises:
        ValueError: for an option that ``atv prune`` does not have, or an invalid value.
    """
    config_arguments = [argument for file in files for argument in ("--config", str(file))]
    prune_parser = _parser()
    parsed = prune_parser.parse_args(["prune", *config_arguments, "--output", "-"])
    options = yaml.safe_load(prune_parser.dump(parsed))["prune"]
    return {name: value for name, value in options.items() if name not in ("output", "config")}


@cache
def _parser() -> ArgumentParser:
    prune_parser = parser("prune")
    prune_parser.exit_on_error = False
    return prune_parser


def models() -> list[str]:
    """The names of the files in models/."""
    return sorted(file.stem for file in (HERE / "models").glob("*.yaml"))


def model_file(model: str) -> Path:
    """The YAML file of a model, given by a name from models/ or by the path of your own file.

    Raises:
        ValueError: if it is neither; the message lists the names.
    """
    if model in models():
        return HERE / "models" / f"{model}.yaml"
    if model.endswith((".yaml", ".yml")) and Path(model).is_file():
        return Path(model)
    raise ValueError(f"model: {model!r} is neither a YAML file nor one of the models: {', '.join(models())}")


def variants(model: str, methods: str | None = None, settings: str | None = None) -> list[Variant]:
    """The runs of a model: the whole grid for the paper's models and your own, ATV at 50% for the others.

    Args:
        methods, settings: comma-separated names, or "all".

    Raises:
        ValueError: for an unknown name; the message lists the choices.
    """
    file = model_file(model)
    full_grid = model in PAPER or model not in models()
    method_names = chosen(methods or (ALL if full_grid else "atv"), METHODS, "methods")
    setting_names = chosen(settings or (ALL if full_grid else "50"), SETTINGS, "settings")
    return [Variant(file, method, setting) for setting in setting_names for method in method_names]


def chosen(named: str, choices: Sequence[str], field: str) -> list[str]:
    """The names in a comma-separated text, or all choices for "all".

    Raises:
        ValueError: for an unknown name; the message lists the choices.
    """
    names = list(choices) if named == ALL else [name.strip() for name in named.split(",")]
    if unknown := [name for name in names if name not in choices]:
        raise ValueError(f"{field}: unknown {', '.join(map(repr, unknown))}. Choices: {', '.join(choices)}, or {ALL}")
    return list(dict.fromkeys(names))


def every() -> Iterator[tuple[str, Variant]]:
    """Yields the model's name and the run, for all runs of all models."""
    for model in models():
        yield from ((model, variant) for variant in variants(model))


def write(output: Path) -> None:
    """Write the complete YAML of every run to MODEL/METHOD_SETTING.yaml.

    Args:
        output: Folder for the files.
    """
    folder = writable(output, "output")
    for model, variant in every():
        write_text(folder / model / f"{variant.name}.yaml", variant.yaml())
    print(f"{sum(1 for _ in every())} runs are in {folder}")


if __name__ == "__main__":
    try:
        auto_cli(write, as_positional=False)
    except ValueError as error:
        sys.exit(f"grid: error: {error}")
