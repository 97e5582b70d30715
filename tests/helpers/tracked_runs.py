"""Reads W&B offline runs from disk for the tests, without any code of atv in between."""

import json
import struct
import time
from dataclasses import dataclass, field

from wandb.proto import wandb_internal_pb2


@dataclass
class OfflineRun:
    """Everything in one run file."""

    id: str = ""
    name: str = ""
    group: str = ""
    kind: str = ""
    tags: list = field(default_factory=list)
    config: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    summary: dict = field(default_factory=dict)
    axes: dict = field(default_factory=dict)
    artifacts: dict = field(default_factory=dict)

    def curve(self, key):
        """Block -> value."""
        return {row["x_block"]: row[key] for row in self.history if key in row and "x_block" in row}


def read(folder):
    """Reads the run in a folder."""
    run = OfflineRun()
    (file,) = folder.glob("run-*.wandb")
    for record in _whole(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            own = record.run
            run.id, run.name, run.group, run.kind = own.run_id, own.display_name, own.run_group, own.job_type
            run.tags = list(own.tags)
        elif kind == "config":
            run.config |= _values(record.config.update)
        elif kind == "history":
            run.history.append(_values(record.history.item))
        elif kind == "summary":
            run.summary |= _values(record.summary.update)
        elif kind == "metric":
            run.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact":
            files = {entry.path: entry.local_path for entry in record.artifact.manifest.contents}
            run.artifacts[record.artifact.type] = (record.artifact.name, files)
    return run


def _whole(file, seconds=30):
    """All records of a finished run; on a busy machine, W&B's own process writes the last ones a moment later."""
    deadline = time.monotonic() + seconds
    while True:
        found = list(records(file))
        if any(record.WhichOneof("record_type") == "exit" for record in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def read_all(ablation_folder):
    """All runs of an ablation, by name."""
    runs = [read(folder) for folder in ablation_folder.glob("wandb/offline-run-*")]
    assert len({run.name for run in runs}) == len(runs)
    return {run.name: run for run in runs}


def _values(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


BLOCK = 32768


def records(path):
    """Yields every record of the file."""
    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        room = BLOCK - place % BLOCK
        if room < 7:
            place += room
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""
