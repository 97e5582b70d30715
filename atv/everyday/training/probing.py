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


def _hash_order(fact: Fact, purpose: str) -> bytes:
    """Returns a digest to sort facts by, which mixes them in the same way every time."""
    return hashlib.sha256(f"{purpose} {fact.relation.name} {fact.thing.name}".encode()).digest()


def examples(relation: Relation, prompt: int) -> list[Fact]:
    """Returns the solved training facts that open a prompt: equally many for each answer, in mixed order."""
    per_answer = max(1, EXAMPLES // len(relation.answers))
    chosen_facts = []
    for answer in relation.answers:
        answer_facts = [fact for fact in facts(relation.name, "train") if fact.answer == answer]
        answer_facts.sort(key=lambda fact: _hash_order(fact, "example"))
        positions = range(prompt * per_answer, prompt * per_answer + min(per_answer, len(answer_facts)))
        chosen_facts += [answer_facts[position % len(answer_facts)] for position in positions]
    return sorted(chosen_facts, key=lambda fact: _hash_order(fact, f"prompt {prompt}"))


def _as_questions(solved_facts: Sequence[Fact]) -> tuple[str, Callable[[Fact], str]]:
    opening = "".join(f"Question: {example.question}\nAnswer: {example.answer}\n\n" for example in solved_facts)
    return opening + "Question:", lambda fact: f" {fact.question}\nAnswer:"


def _as_list(solved_facts: Sequence[Fact]) -> tuple[str, Callable[[Fact], str]]:
    opening = solved_facts[0].relation.about_the("it") + "\n\n"
    opening += "".join(f"- {example.thing.name}: {example.answer}\n" for example in solved_facts)
    return opening + "-", lambda fact: f" {fact.thing.name}:"


PROMPTS = (_as_questions, _as_list)


def _first_tokens(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str]) -> list[int]:
    first_tokens = [tokenizer(f" {answer}", add_special_tokens=False).input_ids[0] for answer in answers]
    if len(set(first_tokens)) < len(first_tokens):
        raise ValueError(f"two of the answers {', '.join(answers)} begin with the same token")
    return first_tokens


@torch.inference_mode()
def _scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    opening: str,
    endings: Sequence[str],
    first_tokens: list[int],
) -> np.ndarray:
    """Returns the log-probability of each first token after ``opening`` and each ending: [endings, answers]."""
    prefix = tokenizer(opening, add_special_tokens=False, return_tensors="pt").input_ids
    prefix_cache = model(prefix, use_cache=True, logits_to_keep=1).past_key_values
    tokens = [tokenizer(ending, add_special_tokens=False).input_ids for ending in endings]
    scores = np.zeros((len(endings), len(first_tokens)))
    for rows in rows_by_length(tokens):
        batch, row_cache = torch.tensor([tokens[row] for row in rows]), deepcopy(prefix_cache)
        row_cache.batch_repeat_interleave(len(rows))
        logits = model(batch, past_key_values=row_cache, logits_to_keep=1).logits[:, -1].double()
        scores[rows] = logits.log_softmax(-1)[:, first_tokens].numpy()
    return scores


def margins(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, relation_facts: Sequence[Fact]) -> np.ndarray:
    """Returns the margin of each fact's answer over the next best one of its relation: [facts, prompts], in nats."""
    relation = relation_facts[0].relation
    right_columns = np.array([relation.answers.index(fact.answer) for fact in relation_facts])
    row_numbers = np.arange(len(relation_facts))
    fact_margins = np.zeros((len(relation_facts), len(PROMPTS)))
    first_tokens = _first_tokens(tokenizer, relation.answers)
    for prompt_number, prompt_format in enumerate(PROMPTS):
        opening, ending_of = prompt_format(examples(relation, prompt_number))
        scores = _scores(model, tokenizer, opening, list(map(ending_of, relation_facts)), first_tokens)
        scores -= np.mean([scores[right_columns == column].mean(0) for column in set(right_columns)], axis=0)
        right_scores = scores[row_numbers, right_columns]
        scores[row_numbers, right_columns] = -np.inf
        fact_margins[:, prompt_number] = right_scores - scores.max(1)
    return fact_margins


def balanced_accuracy(relation_facts: Sequence[Fact], correct: np.ndarray) -> float:
    """Returns each answer's share of facts that are ``correct`` ([facts] of bool), averaged over the answers."""
    answers = np.array([fact.answer for fact in relation_facts])
    return float(np.mean([correct[answers == answer].mean() for answer in set(answers)]))


def probed(relation_facts: Sequence[Fact], fact_margins: np.ndarray) -> list[Fact]:
    """Returns one relation's facts with their least of ``fact_margins``, [facts, prompts], and the resulting split."""
    chance = 1 / len({fact.answer for fact in relation_facts})
    beats_chance = balanced_accuracy(relation_facts, fact_margins.mean(1) > 0) >= chance + ABOVE_CHANCE * (1 - chance)
    least_margins = [round(float(margin), 3) for margin in fact_margins.min(1)]
    return [
        replace(fact, margin=margin, split="test" if beats_chance and margin > 0 else "left out")
        for fact, margin in zip(relation_facts, least_margins, strict=True)
    ]


def without_twins(table: Sequence[Fact]) -> list[Fact]:
    """Moves test facts that training states in different words to "left out".

    For example, what can be eaten is used for eating.
    """
    taught = {(fact.relation.name, fact.thing.name) for fact in table if fact.split == "train"}
    twin_of = {name: twin for pair in TWINS for name, twin in (pair, pair[::-1])}
    taught_by_twin = [
        fact.split == "test" and (twin_of.get(fact.relation.name), fact.thing.name) in taught for fact in table
    ]
    return [replace(fact, split="left out") if twin else fact for fact, twin in zip(table, taught_by_twin, strict=True)]


def _as_csv(rows: Sequence[Fact]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["relation", "thing", "answer", "margin", "split"])
    for fact in rows:
        margin = "" if fact.margin is None else f"{fact.margin:.3f}"
        writer.writerow([fact.relation.name, fact.thing.name, fact.answer, margin, fact.split])
    return text.getvalue()


def probe(folder: Path, relations: Sequence[str] = tuple(RELATIONS)) -> None:
    """Probe relations and rewrite the table.

    Args:
        folder: Folder of the language model, as written by save_pretrained.
        relations: Relations to probe; all by default.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    table = {(fact.relation.name, fact.thing.name): fact for fact in facts()}
    for relation in relations:
        held_out_facts = [fact for fact in facts(relation) if fact.split != "train"]
        fact_margins = margins(model, tokenizer, held_out_facts)
        probed_facts = probed(held_out_facts, fact_margins)
        shares = ", ".join(f"{balanced_accuracy(held_out_facts, right):.0%}" for right in (fact_margins > 0).T)
        test_count = sum(fact.split == "test" for fact in probed_facts)
        print(
            f"{relation}: balanced accuracy by prompt {shares}; {test_count} of {len(probed_facts)} kept for tests",
            flush=True,
        )
        table.update({(fact.relation.name, fact.thing.name): fact for fact in probed_facts})
        write_text(TABLE, _as_csv(without_twins(list(table.values()))))


if __name__ == "__main__":
    auto_cli(probe)
