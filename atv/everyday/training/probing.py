"""Asks a language model, as text, for the held-out facts about everyday things, and finds which of them it knows.

    python -m atv.everyday.training.probing FOLDER

rewrites ``atv/everyday/facts.csv``. Held-out facts that the untouched model in FOLDER knows become "test", the others
"left out"; training facts do not change and serve as examples. A fact is known if the model prefers its answer in both
prompts, and if the model does clearly better than chance in the fact's relation. The prompts are questions with
answers, and a list of things under one question, with different examples. An answer's score is the log-probability of
its first token minus the answer's prior in the relation. The prior is the mean over the things of each answer, averaged
over the answers, so that a model that says "yes" to everything knows nothing.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from atv.everyday.facts import RELATIONS, TABLE, Fact, Relation, facts
from atv.everyday.text_probes import rows_by_length
from atv.records.files import write_text

EXAMPLES = 16  # per prompt, and at least one per answer
# Pairs of relations that ask for the same fact in two ways.
TWINS = (("can_eat", "use"), ("animal", "kind"))
ABOVE_CHANCE = 0.2  # of the way from chance to perfect: the least accuracy in a relation that may be asked


def _order(fact: Fact, purpose: str) -> bytes:
    return hashlib.sha256(f"{purpose} {fact.relation.name} {fact.thing.name}".encode()).digest()


def examples(relation: Relation, prompt: int) -> list[Fact]:
    """Returns the solved training facts that open a prompt: equally many for each answer, in mixed order."""
    rounds = max(1, EXAMPLES // len(relation.answers))
    chosen = []
    for answer in relation.answers:
        own = [one for one in facts(relation.name, "train") if one.answer == answer]
        own.sort(key=lambda one: _order(one, "example"))
        turns = range(prompt * rounds, prompt * rounds + min(rounds, len(own)))
        chosen += [own[turn % len(own)] for turn in turns]
    return sorted(chosen, key=lambda one: _order(one, f"prompt {prompt}"))


def _as_questions(solved: Sequence[Fact]) -> tuple[str, Callable[[Fact], str]]:
    opening = "".join(f"Question: {one.question}\nAnswer: {one.answer}\n\n" for one in solved)
    return opening + "Question:", lambda fact: f" {fact.question}\nAnswer:"


def _as_list(solved: Sequence[Fact]) -> tuple[str, Callable[[Fact], str]]:
    opening = solved[0].relation.about_the("it") + "\n\n"
    opening += "".join(f"- {one.thing.name}: {one.answer}\n" for one in solved)
    return opening + "-", lambda fact: f" {fact.thing.name}:"


PROMPTS = (_as_questions, _as_list)


def _first_tokens(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str]) -> list[int]:
    first = [tokenizer(f" {answer}", add_special_tokens=False).input_ids[0] for answer in answers]
    if len(set(first)) < len(first):
        raise ValueError(f"two of the answers {', '.join(answers)} begin with the same token")
    return first


@torch.inference_mode()
def _scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, opening: str, endings: Sequence[str], first: list[int]
) -> np.ndarray:
    """Returns the log-probability of each first token after ``opening`` and each ending: [endings, answers]."""
    prefix = tokenizer(opening, add_special_tokens=False, return_tensors="pt").input_ids
    cached = model(prefix, use_cache=True, logits_to_keep=1).past_key_values
    tokens = [tokenizer(ending, add_special_tokens=False).input_ids for ending in endings]
    scores = np.zeros((len(endings), len(first)))
    for rows in rows_by_length(tokens):
        batch, own = torch.tensor([tokens[row] for row in rows]), deepcopy(cached)
        own.batch_repeat_interleave(len(rows))
        logits = model(batch, past_key_values=own, logits_to_keep=1).logits[:, -1].double()
        scores[rows] = logits.log_softmax(-1)[:, first].numpy()
    return scores


def margins(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: Sequence[Fact]) -> np.ndarray:
    """Returns the margin of each fact's answer over the next best one of its relation: [facts, prompts], in nats."""
    relation = asked[0].relation
    right = np.array([relation.answers.index(one.answer) for one in asked])
    row = np.arange(len(asked))
    found = np.zeros((len(asked), len(PROMPTS)))
    first = _first_tokens(tokenizer, relation.answers)
    for number, prompt in enumerate(PROMPTS):
        opening, ending = prompt(examples(relation, number))
        scores = _scores(model, tokenizer, opening, list(map(ending, asked)), first)
        scores -= np.mean([scores[right == answer].mean(0) for answer in set(right)], axis=0)
        own = scores[row, right]
        scores[row, right] = -np.inf
        found[:, number] = own - scores.max(1)
    return found


def balanced_accuracy(asked: Sequence[Fact], right: np.ndarray) -> float:
    """Returns the share of the facts of each answer that are ``right`` ([facts] of bool), averaged over the answers."""
    answers = np.array([one.answer for one in asked])
    return float(np.mean([right[answers == answer].mean() for answer in set(answers)]))


def probed(asked: Sequence[Fact], found: np.ndarray) -> list[Fact]:
    """Returns one relation's facts with their least margin in ``found``, [facts, prompts], and the resulting split."""
    chance = 1 / len({one.answer for one in asked})
    counts = balanced_accuracy(asked, found.mean(1) > 0) >= chance + ABOVE_CHANCE * (1 - chance)
    least = [round(float(margin), 3) for margin in found.min(1)]
    return [
        replace(one, margin=margin, split="test" if counts and margin > 0 else "left out")
        for one, margin in zip(asked, least, strict=True)
    ]


def without_twins(table: Sequence[Fact]) -> list[Fact]:
    """Moves test facts that training states in different words to "left out".

    For example, what can be eaten is used for eating.
    """
    taught = {(one.relation.name, one.thing.name) for one in table if one.split == "train"}
    other = {name: twin for pair in TWINS for name, twin in (pair, pair[::-1])}
    told = [one.split == "test" and (other.get(one.relation.name), one.thing.name) in taught for one in table]
    return [replace(one, split="left out") if twin else one for one, twin in zip(table, told, strict=True)]


def _table(rows: Sequence[Fact]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["relation", "thing", "answer", "margin", "split"])
    for one in rows:
        margin = "" if one.margin is None else f"{one.margin:.3f}"
        writer.writerow([one.relation.name, one.thing.name, one.answer, margin, one.split])
    return text.getvalue()


def probe(folder: Path, relations: Sequence[str] = tuple(RELATIONS)) -> None:
    """Probe relations and rewrite the table.

    Args:
        folder: Folder of the language model, as written by save_pretrained.
        relations: Relations to probe; all by default.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    table = {(one.relation.name, one.thing.name): one for one in facts()}
    for relation in relations:
        asked = [one for one in facts(relation) if one.split != "train"]
        found = margins(model, tokenizer, asked)
        own = probed(asked, found)
        shares = ", ".join(f"{balanced_accuracy(asked, right):.0%}" for right in (found > 0).T)
        kept = sum(one.split == "test" for one in own)
        print(f"{relation}: balanced accuracy by prompt {shares}; {kept} of {len(own)} kept for tests", flush=True)
        table.update({(one.relation.name, one.thing.name): one for one in own})
        write_text(TABLE, _table(without_twins(list(table.values()))))


if __name__ == "__main__":
    auto_cli(probe)
