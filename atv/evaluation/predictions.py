"""Writes predictions to disk as they are made, so that a killed run can resume: a JSONL file per rank."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L

from atv.data.wording import reason
from atv.records.files import read_json, write_json
from atv.records.provenance import provenance

# Schema of starts.json; incremented when code that reads the previous schema can no longer read the file.
SCHEMA = 1


@dataclass(frozen=True)
class Prediction:
    """A model's answer to a question.

    ``ended`` is whether the answer ended before it was cut off; None if an earlier version did not record it.
    """

    text: str
    ended: bool | None = None


class Predictions:
    """A folder of predictions: rank-000.jsonl, ... with one line per question, and starts.json.

    Each line has question_id, prediction, ``seen`` (a digest of what was shown) and ``ended`` (whether the answer ended
    before it was cut off). starts.json says what the predictions were made with. A batch is written at once. A line
    that a killed run left torn does not count, and the next write removes it. If several lines have the same question,
    the first one counts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> dict[str, Prediction]:
        """Returns the predictions of all ranks by question id."""
        return {
            question_id: Prediction(row["prediction"], row.get("ended")) for question_id, row in self._rows().items()
        }

    def starts(self) -> list[dict[str, Any]]:
        """Returns what the predicting runs were made with (versions, git, hardware, device), each distinct one once."""
        return read_json(self._starts, SCHEMA).get("starts", []) if self._starts.is_file() else []

    def begin(self, run_provenance: Mapping[str, Any]) -> None:
        """Records what a run that is about to add predictions is made with."""
        if run_provenance not in (recorded := self.starts()):
            write_json(self._starts, {"schema": SCHEMA, "starts": [*recorded, run_provenance]})

    @property
    def _starts(self) -> Path:
        return self.folder / "starts.json"

    def check_seen(self, questions: Mapping[str, Mapping[str, Any]]) -> None:
        """Checks that the questions with these ids are those that were answered.

        Raises:
            ValueError: naming the first question that now has a different text or picture.
        """
        for question_id, row in self._rows().items():
            if question_id in questions and row.get("seen") != questions[question_id].get("seen"):
                raise ValueError(
                    f"output: {str(self.folder.parent)!r} holds answers to different questions: {question_id[:80]!r} "
                    "now has a different text or picture; choose another folder"
                )

    def _rows(self) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for file in sorted(self.folder.glob("rank-*.jsonl")):
            for line_number, line in enumerate(_whole_lines(file.read_bytes()).splitlines(), 1):
                try:
                    row = json.loads(line)
                    rows.setdefault(row["question_id"], row)
                except (ValueError, LookupError, TypeError) as error:
                    damage = (
                        f"line {line_number} is not an answer ({reason(error)}); remove the line or choose another "
                        "folder"
                    )
                    raise ValueError(f"output: {str(file)!r} is damaged: {damage}") from error
        return rows

    def append(self, rank: int, answers: Iterable[tuple[Mapping[str, Any], str]]) -> None:
        """Appends a batch to a rank's file; the batch is on disk when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = (
            {"question_id": question["question_id"], "prediction": text}
            | {name: question.get(name) for name in ("seen", "ended")}
            for question, text in answers
        )
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        rank_file = self.folder / f"rank-{rank:03d}.jsonl"
        _cut_torn_line(rank_file)
        with open(rank_file, "ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _cut_torn_line(file: Path) -> None:
    if not file.is_file() or not file.stat().st_size:
        return
    with open(file, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read() != b"\n":
            stream.seek(0)
            stream.truncate(len(_whole_lines(stream.read())))


class KeepPredictions(L.Callback):
    """Appends each batch of answers to the predictions on disk, and records what they are made with."""

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.predictions.begin(provenance() | {"device": pl_module.device.type})

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if outputs:
            self.predictions.append(trainer.global_rank, outputs)
