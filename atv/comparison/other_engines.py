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
from atv.evaluation.generation import scored_answers

# Name that lmms-eval gives the file of a task's samples.
LOGGED = re.compile(r"_samples_(?P<task>.+)\.jsonl$")
_PICTURE = re.compile(r"<image(?: \d+)?>")
Key = tuple[str, str]


@dataclass(frozen=True)
class EngineAnswer:
    """One answer: its question (task, id), its text, whether it ended (None: not known), and why there is none."""

    key: Key
    text: str
    ended: bool | None = None
    fault: str | None = None


def is_other(path: Path) -> bool:
    """Returns whether a path is a JSONL file, or a folder with samples that lmms-eval logged and no answers of atv."""
    return path.is_file() or not (holds_answers(path) or next(_logs(path), None) is None)


def read_other(path: Path, known_questions: KnownQuestions) -> Answers:
    """Reads the answers of another engine, one question per line.

    A line is one of: ``question_id`` and ``prediction`` (and, if known, ``task`` and ``ended``); a sample as lmms-eval
    logs it, whose ``doc_id`` is the row of the data set; a line of a batch's output as vLLM and OpenAI write it, whose
    ``custom_id`` is the question's id.

    Args:
        path: the file, or the folder of lmms-eval's logs.

    Raises:
        ValueError: for a line that is none of these, a prompt other than ours, an unknown question, or a missing one.
    """
    replies = [reply for file in _files(path) for reply in _read(file, known_questions)]
    by_key = {reply.key: reply for reply in replies}
    if len(by_key) < len(replies):
        repeated_id = next(reply.key[1] for reply in replies if by_key[reply.key] is not reply)
        raise ValueError(f"{str(path)!r}: question {short(repeated_id, 80)!r} is answered twice")
    tasks = {task for task, _ in by_key}
    if unknown_keys := [key for key in by_key if key not in known_questions.by_key]:
        raise ValueError(
            f"{str(path)!r}: answers {len(unknown_keys):,} questions that are not among those that are compared, such "
            f"as {short(unknown_keys[0][1], 80)!r} of {unknown_keys[0][0]}"
        )
    expected_keys = [key for key in known_questions.by_key if key[0] in tasks]
    if missing_keys := [key for key in expected_keys if key not in by_key]:
        raise ValueError(
            f"{str(path)!r}: lacks answers to {len(missing_keys):,} of {len(expected_keys):,} questions, such as "
            f"{short(missing_keys[0][1], 80)!r} of {missing_keys[0][0]}"
        )
    replies = [by_key[key] for key in expected_keys]
    rows = scored_answers(
        (known_questions.by_key[reply.key] | {"ended": reply.ended, "fault": reply.fault}, reply.text)
        for reply in replies
    )
    return Answers(str(path), (str(path),), (table(rows, str(path)),))


def _logs(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*.jsonl")) if LOGGED.search(file.name))


def _files(path: Path) -> list[Path]:
    """Returns the file itself, or the logs of lmms-eval in a folder, one per task."""
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


def _read(file: Path, known: KnownQuestions) -> Iterator[EngineAnswer]:
    keys_by_id: dict[str, list[Key]] = defaultdict(list)
    for key in known.by_key:
        keys_by_id[key[1]].append(key)
    questions_by_row: dict[int, dict[str, Any]] | None = None
    for line_number, line in _objects(file):
        try:
            if "doc_id" in line and ("filtered_resps" in line or "resps" in line):
                questions_by_row = _questions_by_row(file, known) if questions_by_row is None else questions_by_row
                yield _lmms_eval_reply(line, questions_by_row)
            elif "custom_id" in line and "response" in line:
                yield _batch_reply(line, _known_key(keys_by_id, line["custom_id"], line))
            elif "question_id" in line and "prediction" in line:
                if (ended := line.get("ended")) not in (None, True, False):
                    raise ValueError(f"ended is {quoted(ended)}; expected true or false")
                yield EngineAnswer(
                    _known_key(keys_by_id, line["question_id"], line),
                    _answer_text(line["prediction"], "prediction"),
                    ended,
                )
            else:
                raise ValueError(
                    f"has {short(', '.join(map(str, line)) or 'nothing')}; expected question_id and prediction, doc_id "
                    "and filtered_resps (lmms-eval), or custom_id and response (a batch's output)"
                )
        except ValueError as error:
            raise ValueError(f"{file}, line {line_number}: {error}") from error


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = numbered_lines(file)
    if not lines:
        raise ValueError(f"{str(file)!r} holds no answer")
    for line_number, content in lines:
        if not isinstance(content, dict):
            raise ValueError(f"{file}, line {line_number}: is {quoted(content)}; expected an object")
        yield line_number, content


def _known_key(keys_by_id: Mapping[str, list[Key]], question_id: Any, line: Mapping[str, Any]) -> Key:
    """Returns the key of the question that a line answers, from its id and, if there is one, its task."""
    keys = [key for key in keys_by_id.get(str(question_id), ()) if line.get("task") in (None, key[0])]
    if not keys:
        raise ValueError(f"question {quoted(question_id, 80)} is not among those that are compared")
    if len(keys) > 1:
        raise ValueError(
            f"question {quoted(question_id, 80)} is in each of {', '.join(task for task, _ in keys)}; add a 'task' "
            "field"
        )
    return keys[0]


def _batch_reply(line: Mapping[str, Any], key: Key) -> EngineAnswer:
    """Reads a line of a batch's output, as vLLM's run_batch and OpenAI's batches write it."""
    try:
        choice = line["response"]["body"]["choices"][0]
        text = choice["message"]["content"]
    except (TypeError, KeyError, IndexError):
        return EngineAnswer(key, "", fault=f"the engine gave no answer: {short(line.get('error') or 'no choices')}")
    return EngineAnswer(
        key, _answer_text("" if text is None else text, "content"), choice.get("finish_reason") == "stop"
    )


def _answer_text(text: Any, field: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{field} is {quoted(text)}; expected text")
    return plain_text(text, field)


def _questions_by_row(file: Path, known: KnownQuestions) -> dict[int, dict[str, Any]]:
    """Returns data set row -> question, for the benchmark whose samples the file holds."""
    match = LOGGED.search(file.name)
    benchmark_by_task: dict[str, LoadedBenchmark] = {
        entry.benchmark.lmms_eval: entry for entry in known.benchmarks.values()
    }
    if match is None or match["task"] not in benchmark_by_task:
        raise ValueError(
            "is a sample of lmms-eval; name its benchmark with --benchmark and the data with --data (in the file name "
            f"..._samples_TASK.jsonl, TASK is one of {', '.join(benchmark_by_task) or 'those of the benchmarks'})"
        )
    return {entry.index: entry.question for entry in benchmark_by_task[match["task"]].questions}


def _lmms_eval_reply(line: Mapping[str, Any], questions: Mapping[int, Mapping[str, Any]]) -> EngineAnswer:
    """Reads a sample of lmms-eval, whose prompt must equal ours: otherwise its row, or the words asked, may differ."""
    question = questions.get(line["doc_id"]) if type(line["doc_id"]) is int else None
    if question is None:
        raise ValueError(f"doc_id {quoted(line['doc_id'])} is not a question of the benchmark's data")
    prompt = line.get("input")
    if not isinstance(prompt, str):
        raise ValueError("does not say what was asked (no text in input)")
    if _words(prompt) != _words(question["question"]):
        raise ValueError(f"was asked {short(prompt, 120)!r}, but here it is {short(question['question'], 120)!r}")
    reply = line.get("resps", line.get("filtered_resps"))
    while isinstance(reply, list) and reply:
        reply = reply[0]
    return EngineAnswer((question["task"], question["question_id"]), _answer_text(reply, "its answer"))


def _words(text: str) -> list[str]:
    return _PICTURE.sub(" ", text).split()
