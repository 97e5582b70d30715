"""One run of the grid: its folder, its commands and its progress.

config.yaml              all options of atv prune; for the dense model, once evaluated, its name and pixel bounds
prune.log, ...           output of each command
model/                   the pruned model, until it is evaluated
report.json, masks.safetensors, README.md, pruning.png   kept from it afterwards
scores/                  scores.json and all answers
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from atv.plugins import at_least
from atv.records.evaluation_report import SCORES, EvaluationReport
from atv.records.files import write_text
from experiments.devices import Commands, Device
from experiments.grid import Variant

DENSE, CONFIG = "dense", "config.yaml"
KEPT = ("report.json", "masks.safetensors", "README.md", "pruning.png")


@dataclass(frozen=True)
class PaperQuestions:
    """The questions for every model: benchmarks, a local copy of their data, and a limit per benchmark.

    Raises:
        ValueError: for a limit below 1.
    """

    benchmarks: Sequence[str]
    data: Path | None = None
    limit: int | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        at_least(1, limit=self.limit)


@dataclass(frozen=True)
class PaperRun:
    """The run of the dense model (``variant`` is None) or of a pruned one, in its own folder."""

    folder: Path
    base: str
    pixels: dict[str, int]
    asking: PaperQuestions
    variant: Variant | None = None
    keep_model: bool = False

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.variant.name if self.variant else DENSE

    @property
    def scores(self) -> Path:
        """Folder of scores.json and the answers."""
        return self.folder / "scores"

    @property
    def model(self) -> Path:
        """Folder of the pruned model."""
        return self.folder / "model"

    @property
    def config(self) -> str:
        """The text of config.yaml."""
        return self.variant.yaml() if self.variant else yaml.safe_dump({"model": self.base, **self.pixels})

    @property
    def state(self) -> str:
        """``finished``, ``begun`` or ``new``."""
        if self.evaluated() and (self._model_complete if self.keep_model else not self.model.exists()):
            return "finished"
        return "begun" if self.folder.exists() else "new"

    @property
    def _model_complete(self) -> bool:
        """Whether the pruned model's folder is complete; True for the dense model, which a run does not keep."""
        return self.variant is None or all((self.model / name).is_file() for name in ("config.json", "report.json"))

    def evaluated(self) -> bool:
        """Whether this model has answered all questions."""
        file = self.scores / SCORES
        if not (file.is_file() and self._config_matches):
            return False
        report = EvaluationReport.read(file)
        data = None if self.asking.data is None else str(self.asking.data)
        same_options = (report.asked["limit"], report.asked["data"]) == (self.asking.limit, data)
        return same_options and {*self.asking.benchmarks} <= {*report.benchmarks}

    def begin(self) -> None:
        """Writes config.yaml if the run prunes a model.

        Raises:
            ValueError: if the folder holds a run with different options.
        """
        file = self.folder / CONFIG
        if file.is_file() and not self._config_matches:
            raise ValueError(f"output: {str(file)!r} has different options than this run; choose another --output")
        if self.variant:
            write_text(file, self.config)

    @property
    def _config_matches(self) -> bool:
        """Whether config.yaml exists and belongs to this run."""
        file = self.folder / CONFIG
        return file.is_file() and file.read_text(encoding="utf-8") == self.config

    def run(self, commands: Commands, device: Device) -> None:
        """Runs whatever is left of the run, one command after another."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.evaluated() or (self.keep_model and not self._model_complete):
            for arguments in self.commands():
                commands.run(arguments, device, self.folder / f"{arguments[0]}.log")
            # For the dense model only now: before, the evaluation itself rejects scores of a different model.
            write_text(self.folder / CONFIG, self.config)
        if not self.keep_model:
            self.clear()

    def commands(self) -> list[list[str]]:
        """Arguments of ``atv`` to prune, verify and evaluate; a command that was killed resumes."""
        if self.variant is None:
            return [self._evaluate_arguments(self.base)]
        folder = str(self.model)
        prune = ["prune", "--config", str(self.folder / CONFIG), "--output", folder]
        # No generation here, because evaluation generates next.
        verify = ["verify", folder, "--base", self.base, "--max_new_tokens", "0"]
        return [prune, verify, self._evaluate_arguments(folder)]

    def _evaluate_arguments(self, model: str) -> list[str]:
        asking = self.asking
        options: dict[str, object] = {"model": model, "benchmark": ",".join(asking.benchmarks), "output": self.scores}
        options |= {"data": asking.data, "groups": asking.limit, "batch_size": asking.batch_size, **self.pixels}
        set_options = {name: value for name, value in options.items() if value is not None}
        return ["evaluate", *(word for name, value in set_options.items() for word in (f"--{name}", str(value)))]

    def clear(self) -> None:
        """Deletes the pruned model but keeps its report, masks, model card and figure."""
        if not self.model.exists():
            return
        for name in KEPT:
            if (self.model / name).is_file():
                shutil.move(self.model / name, self.folder / name)
        shutil.rmtree(self.model)
