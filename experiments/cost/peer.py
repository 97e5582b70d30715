"""Runs llm-compressor for comparison, in a separate process and environment."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from atv.bundled import BUNDLED_MODEL
from experiments.cost.workload import Batch

WORKER = Path(__file__).with_name("llm_compressor.py")


class LlmCompressor:
    """A worker process that loads the same model and samples and prunes a fresh copy of the model on each ``run``.

    Args:
        python: interpreter of llm-compressor's environment.
        model, batches: the model to prune, and its calibration samples.
        threads: number of threads that the worker may use.
    """

    def __init__(self, python: Path, model: PreTrainedModel, batches: Sequence[Batch], threads: int) -> None:
        self._shared = TemporaryDirectory()
        self.folder = folder = Path(self._shared.name)
        model.save_pretrained(folder)
        # Any tokenizer will do: llm-compressor requires one but never uses it.
        AutoTokenizer.from_pretrained(BUNDLED_MODEL).save_pretrained(folder)
        torch.save(list(batches), folder / "batches.pt")
        self._log = open(folder / "log", "w+")  # noqa: SIM115
        answers, pipe = os.pipe()
        self._process = subprocess.Popen(
            [str(python.absolute()), str(WORKER), str(folder), str(pipe)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            text=True,
            pass_fds=[pipe],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"},
        )
        os.close(pipe)
        self._answers = os.fdopen(answers)
        self.versions = self._answer()

    def run(self, modifier: str) -> float:
        """Prunes a fresh copy with the llm-compressor class of this name, and returns the seconds that it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{modifier}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def masks(self) -> dict[str, Tensor]:
        """Masks of the last run: Linear name -> bool (out, in), True = kept."""
        return load_file(self.folder / "masks.safetensors")

    def weights(self) -> dict[str, Tensor]:
        """First block's weights after the last run: Linear name -> float (out, in)."""
        return load_file(self.folder / "weights.safetensors")

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"llm-compressor's process ended without an answer: {self._log.read()[-2000:]}")
        return json.loads(line)

    def __enter__(self) -> "LlmCompressor":
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the worker by closing its input."""
        self._process.communicate()
        self._answers.close()
        self._log.close()
        self._shared.cleanup()
