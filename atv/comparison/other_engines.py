"""Reads answers of another engine from JSONL and scores them with the metrics of this package."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atv.comparison.answers import Answers, holds_answers, table
from atv.comparison.known_questions import KnownQuestions
from atv.data.text_files import numbered_lines
from atv.data.turns import plain_text
from atv.data.wording import quoted, short
from atv.evaluation.benchmarks.loaded import LoadedBenchmark
from atv.evaluation.generation import scored

# Name that lmms-eval gives the file of a task's samples.
LOGGED = re.compile(r"_samples_(?P<task>.+)\.jsonl$")
_PICTURE = re.compile(r"<image(?: \d+)?>")
Key = tuple[str, str]


@dataclass(frozen=True)
class Said:
    """One answer: its question (task, id), its text, whether it ended (None: not known), and why there is none."""

    key: Key
    text: str
    ended: bool | None = None
    fault: str | None = None


def is_other(path: Path) -> bool:
    """Returns whether a path is a JSONL file, or a folder with samples that lmms-eval logged and no answers of atv."""
    return path.is_file() or not (holds_answers(path) or next(_logs(path), None) is None)


def read_other(path: Path, known: KnownQuestions) -> Answers:
    """Reads the answers of another engine, one question per line.

    A line is one of: ``question_id`` and ``prediction`` (and, if known, ``task`` and ``ended``); a sample as lmms-eval
    logs it, whose ``doc_id`` is the row of the data set; a line of a batch's output as vLLM and OpenAI write it, whose
    ``custom_id`` is the question's id.

    Args:
        path: the file, or the folder of lmms-eval's logs.

    Raises:
        ValueError: for a line that is none of these, a prompt other than ours, an unknown question, or a missing one.
    """
    said = [one for file in _files(path) for one in _read(file, known)]
    by_key = {one.key: one for one in said}
    if len(by_key) < len(said):
        twice = next(one.key[1] for one in said if by_key[one.key] is not one)
        raise ValueError(f"{str(path)!r}: question {short(twice, 80)!r} is answered twice")
    tasks = {task for task, _ in by_key}
    if strange := [key for key in by_key if key not in known.by_key]:
        raise ValueError(
            f"{str(path)!r}: answers {len(strange):,} questions that are not among those that are compared, such as "
            f"{short(strange[0][1], 80)!r} of {strange[0][0]}"
        )
    wanted = [key for key in known.by_key if key[0] in tasks]
    if missing := [key for key in wanted if key not in by_key]:
        raise ValueError(
            f"{str(path)!r}: lacks answers to {len(missing):,} of {len(wanted):,} questions, such as "
            f"{short(missing[0][1], 80)!r} of {missing[0][0]}"
        )
    said = [by_key[key] for key in wanted]
    rows = scored((known.by_key[one.key] | {"ended": one.ended, "fault": one.fault}, one.text) for one in said)
    return Answers(str(path), (str(path),), (table(rows, str(path)),))


def _logs(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*.jsonl")) if LOGGED.search(file.name))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix == ".parquet":
            raise ValueError(f"folders: expected a folder or a JSONL file, got {str(path)!r}; name the folder it is in")
        return [path]
    by_task: dict[str, list[Path]] = defaultdict(list)
    for file in _logs(path):
        match = LOGGED.search(file.name)
        assert match is not None
        by_task[match["task"]].append(file)
    for task, files in by_task.items():
        if len(files) > 1:
            raise ValueError(f"{str(path)!r}: holds {len(files)} logs of {task}; name one of them, or another folder")
    return [file for (file,) in by_task.values()]


def _read(file: Path, known: KnownQuestions) -> Iterator[Said]:
    ids: dict[str, list[Key]] = defaultdict(list)
    for key in known.by_key:
        ids[key[1]].append(key)
    logged: dict[int, dict[str, Any]] | None = None
    for place, line in _objects(file):
        try:
            if "doc_id" in line and ("filtered_resps" in line or "resps" in line):
                logged = _by_row(file, known) if logged is None else logged
                yield _logged(line, logged)
            elif "custom_id" in line and "response" in line:
                yield _of_batch(line, _known(ids, line["custom_id"], line))
            elif "question_id" in line and "prediction" in line:
                if (ended := line.get("ended")) not in (None, True, False):
                    raise ValueError(f"ended is {quoted(ended)}; expected true or false")
                yield Said(_known(ids, line["question_id"], line), _said(line["prediction"], "prediction"), ended)
            else:
                raise ValueError(
                    f"has {short(', '.join(map(str, line)) or 'nothing')}; expected question_id and prediction, doc_id "
                    "and filtered_resps (lmms-eval), or custom_id and response (a batch's output)"
                )
        except ValueError as error:
            raise ValueError(f"{file}, line {place}: {error}") from error


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    values = numbered_lines(file)
    if not values:
        raise ValueError(f"{str(file)!r} holds no answer")
    for place, content in values:
        if not isinstance(content, dict):
            raise ValueError(f"{file}, line {place}: is {quoted(content)}; expected an object")
        yield place, content


def _known(ids: Mapping[str, list[Key]], name: Any, line: Mapping[str, Any]) -> Key:
    found = [key for key in ids.get(str(name), ()) if line.get("task") in (None, key[0])]
    if not found:
        raise ValueError(f"question {quoted(name, 80)} is not among those that are compared")
    if len(found) > 1:
        raise ValueError(
            f"question {quoted(name, 80)} is in each of {', '.join(task for task, _ in found)}; add a 'task' field"
        )
    return found[0]


def _of_batch(line: Mapping[str, Any], key: Key) -> Said:
    """Reads a line of a batch's output, as vLLM's run_batch and OpenAI's batches write it."""
    try:
        choice = line["response"]["body"]["choices"][0]
        text = choice["message"]["content"]
    except (TypeError, KeyError, IndexError):
        return Said(key, "", fault=f"the engine gave no answer: {short(line.get('error') or 'no choices')}")
    return Said(key, _said("" if text is None else text, "content"), choice.get("finish_reason") == "stop")


def _said(text: Any, field: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{field} is {quoted(text)}; expected text")
    return plain_text(text, field)


def _by_row(file: Path, known: KnownQuestions) -> dict[int, dict[str, Any]]:
    """Returns data set row -> question, for the benchmark whose samples the file holds."""
    match = LOGGED.search(file.name)
    named: dict[str, LoadedBenchmark] = {each.benchmark.lmms_eval: each for each in known.benchmarks.values()}
    if match is None or match["task"] not in named:
        raise ValueError(
            "is a sample of lmms-eval; name its benchmark with --benchmark and the data with --data (in the file name "
            f"..._samples_TASK.jsonl, TASK is one of {', '.join(named) or 'those of the benchmarks'})"
        )
    return {each.index: each.question for each in named[match["task"]].questions}


def _logged(line: Mapping[str, Any], questions: Mapping[int, Mapping[str, Any]]) -> Said:
    """Reads a sample of lmms-eval, whose prompt must equal ours: otherwise its row, or the words asked, may differ."""
    question = questions.get(line["doc_id"]) if type(line["doc_id"]) is int else None
    if question is None:
        raise ValueError(f"doc_id {quoted(line['doc_id'])} is not a question of the benchmark's data")
    there = line.get("input")
    if not isinstance(there, str):
        raise ValueError("does not say what was asked (no text in input)")
    if _words(there) != _words(question["question"]):
        raise ValueError(f"was asked {short(there, 120)!r}, but here it is {short(question['question'], 120)!r}")
    said = line.get("resps", line.get("filtered_resps"))
    while isinstance(said, list) and said:
        said = said[0]
    return Said((question["task"], question["question_id"]), _said(said, "its answer"))


def _words(text: str) -> list[str]:
    return _PICTURE.sub(" ", text).split()
