"""The replication's runs: common.yaml, the files of model and method, and the benchmark whose questions calibrate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.grid import Variant, chosen, complete, model_file

HERE = Path(__file__).parent
# In the order of the replication's table; "_text" forwards only the words, without their pictures.
TEXT = "_text"
METHODS = ("atv", f"atv{TEXT}", "tamp", f"tamp{TEXT}", "wanda", "sparsegpt")
CALIBRATIONS = {"mmbench": "MMBench", "mmmu": "MMMU", "ok_vqa": "OKVQA"}
BENCHMARKS = tuple(CALIBRATIONS.values())


@dataclass(frozen=True)
class Replica(Variant):
    """One run; ``setting`` is the benchmark whose questions calibrate, and ``data`` a local copy of it."""

    stream: str = ""
    data: Path | None = None

    @property
    def name(self) -> str:
        """The run's name, such as atv_text_mmbench."""
        return f"{self.method}{self.stream}_{self.setting}"

    def options(self) -> dict[str, Any]:
        """All options of ``atv prune`` except the output."""
        files = (HERE / "common.yaml", self.model_file, HERE.parent / "methods" / f"{self.method}.yaml")
        options = complete(*files)
        # As in the replication: questions without answers, from the split that is evaluated.
        arguments = {"benchmark": CALIBRATIONS[self.setting], "data": None if self.data is None else str(self.data)}
        source = {"class_path": "atv.BenchmarkQuestions", "init_args": arguments | {"overlap": True}}
        text_only = {"class_path": "atv.data.TextAlone", "init_args": {"source": source}}
        return options | {"calibration": text_only if self.stream == TEXT else source}


def replicas(
    model: str, methods: str = "all", calibrations: str = "all", data: Path | None = None
) -> Sequence[Replica]:
    """The runs of a model.

    Args:
        methods, calibrations: comma-separated names, or "all".

    Raises:
        ValueError: for an unknown name; the message lists the choices.
    """
    file = model_file(model)
    return [
        Replica(file, method.removesuffix(TEXT), calibration, TEXT if method.endswith(TEXT) else "", data)
        for method in chosen(methods, METHODS, "methods")
        for calibration in chosen(calibrations, tuple(CALIBRATIONS), "calibrations")
    ]
