"""One run of the grid: its folder, its commands, and how far it is.

config.yaml              every option of atv prune; of the dense model, once evaluated, its name and pixels
prune.log, ...           what each command printed
model/                   the pruned model, until it is evaluated
report.json, masks.safetensors, README.md, pruning.png   what is kept of it
scores/                  scores.json and every answer
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
    """What is asked of every model: benchmarks, a local copy of their data, how many questions of each.

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
    """The dense model (``variant`` None) or a pruned one, in a folder of its own."""

    folder: Path
    base: str
    pixels: dict[str, int]
    asking: PaperQuestions
    variant: Variant | None = None
    keep_model: bool = False

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.variant.name if self.variant else DENSE

    @property
    def scores(self) -> Path:
        """Folder of scores.json and answers."""
        return self.folder / "scores"

    @property
    def model(self) -> Path:
        """Folder of the pruned model."""
        return self.folder / "model"

    @property
    def config(self) -> str:
        """What config.yaml says."""
        return self.variant.yaml() if self.variant else yaml.safe_dump({"model": self.base, **self.pixels})

    @property
    def state(self) -> str:
        """finished, begun or new."""
        if self.evaluated() and (self._kept if self.keep_model else not self.model.exists()):
            return "finished"
        return "begun" if self.folder.exists() else "new"

    @property
    def _kept(self) -> bool:
        """Whether the pruned model is there, whole; the dense one is not the run's to keep."""
        return self.variant is None or all((self.model / name).is_file() for name in ("config.json", "report.json"))

    def evaluated(self) -> bool:
        """Whether everything that is asked was answered, by this model."""
        file = self.scores / SCORES
        if not (file.is_file() and self._configured):
            return False
        there = EvaluationReport.read(file)
        data = None if self.asking.data is None else str(self.asking.data)
        same = (there.asked["limit"], there.asked["data"]) == (self.asking.limit, data)
        return same and {*self.asking.benchmarks} <= {*there.benchmarks}

    def begin(self) -> None:
        """Writes config.yaml of a pruned model's run.

        Raises:
            ValueError: when the folder holds a run with other options.
        """
        file = self.folder / CONFIG
        if file.is_file() and not self._configured:
            raise ValueError(f"output: {str(file)!r} has other options than this run; name another --output")
        if self.variant:
            write_text(file, self.config)

    @property
    def _configured(self) -> bool:
        """Whether config.yaml is there and this run's."""
        file = self.folder / CONFIG
        return file.is_file() and file.read_text(encoding="utf-8") == self.config

    def run(self, commands: Commands, device: Device) -> None:
        """Every command that is left, in order."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.evaluated() or (self.keep_model and not self._kept):
            for arguments in self.commands():
                commands.run(arguments, device, self.folder / f"{arguments[0]}.log")
            # Of the dense model only now: evaluating refuses scores without it that are another model's.
            write_text(self.folder / CONFIG, self.config)
        if not self.keep_model:
            self.clear()

    def commands(self) -> list[list[str]]:
        """Prune, verify, evaluate, as arguments of ``atv``; each goes on where it was killed."""
        if self.variant is None:
            return [self._evaluation(self.base)]
        folder = str(self.model)
        prune = ["prune", "--config", str(self.folder / CONFIG), "--output", folder]
        # Generation is what evaluation does next.
        verify = ["verify", folder, "--base", self.base, "--max_new_tokens", "0"]
        return [prune, verify, self._evaluation(folder)]

    def _evaluation(self, model: str) -> list[str]:
        asked = self.asking
        options: dict[str, object] = {"model": model, "benchmark": ",".join(asked.benchmarks), "output": self.scores}
        options |= {"data": asked.data, "groups": asked.limit, "batch_size": asked.batch_size, **self.pixels}
        given = {name: value for name, value in options.items() if value is not None}
        return ["evaluate", *(part for name, value in given.items() for part in (f"--{name}", str(value)))]

    def clear(self) -> None:
        """Deletes the pruned model; its report and masks stay."""
        if not self.model.exists():
            return
        for name in KEPT:
            if (self.model / name).is_file():
                shutil.move(self.model / name, self.folder / name)
        shutil.rmtree(self.model)
