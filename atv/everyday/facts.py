"""Facts about the everyday things: relations, how to ask about each of them, and which facts training never states.

A hash holds out 45% of each relation's facts, separately for each answer; no training sample states them. Of the
held-out facts, the tests ask those that the language model knew as text before it saw any picture ("test"); the others
are not used at all ("left out"). ``atv.everyday.training.probing`` measured what the language model knew.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

from atv.everyday.things import Thing, by_name

TABLE = Path(__file__).parent / "facts.csv"
COMMON = "common knowledge, written for this table and read twice; what can be disputed is left out"
GROUPS = "Unicode's groups of emoji, by emojibase"

Split = Literal["train", "test", "left out"]


def _as_subject(thing: Thing) -> tuple[str, bool]:
    """Returns the thing as it appears in a sentence ("a dog", "grapes", "the sun"), and whether its verb is plural."""
    if thing.name in ("sun", "moon"):
        return f"the {thing.name}", False
    if thing.article == "some":
        return thing.name, thing.name.endswith("s")
    return f"{thing.article} {thing.name}", False


@dataclass(frozen=True)
class Relation:
    """A question with a small closed set of answers.

    ``template`` contains ``{it}``, and ``{is}`` or ``{does}`` if the verb agrees with the thing in number.
    ``which_questions`` maps every answer to the question that picks the thing with that answer out of several things.
    """

    name: str
    template: str
    which_questions: Mapping[str, str]
    source: str = COMMON

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(self.which_questions)

    def about(self, thing: Thing) -> str:
        """Returns the question about a thing, by its name: "Can a penguin fly?"."""
        return self._question(*_as_subject(thing))

    def about_the(self, reference: str) -> str:
        """Returns the question about one thing in the picture: "Can the thing at the top left fly?"."""
        return self._question(reference, plural=False)

    def _question(self, subject: str, plural: bool) -> str:
        verbs = {"is": "are", "does": "do"} if plural else {"is": "is", "does": "does"}
        question = self.template.format(it=subject, **verbs)
        return question[0].upper() + question[1:]


@dataclass(frozen=True)
class Fact:
    """The answer to a relation's question about a thing.

    ``margin`` is by how many nats the untouched language model, asked in text, prefers this answer to the best other
    one: the minimum over several prompts, negative if the model is wrong. It is None for training facts, because these
    are the examples in the prompts.
    """

    thing: Thing
    relation: Relation
    answer: str
    margin: float | None
    split: Split

    @property
    def question(self) -> str:
        return self.relation.about(self.thing)


def _yes_no(name: str, template: str, predicate: str, negated: str, source: str = COMMON) -> Relation:
    which = {"yes": f"Which of these {predicate}?", "no": f"Which of these {negated}?"}
    return Relation(name, template, which, source)


def _one_of(name: str, template: str, which_template: str, answers: str, source: str = COMMON) -> Relation:
    return Relation(name, template, {answer: which_template.format(answer) for answer in answers.split()}, source)


_RELATIONS = (
    _yes_no("can_fly", "can {it} fly?", "can fly", "cannot fly"),
    _yes_no("mammal", "{is} {it} a mammal?", "is a mammal", "is not a mammal"),
    _yes_no("eggs", "{does} {it} lay eggs?", "lays eggs", "does not lay eggs"),
    _yes_no("wild", "{is} {it} a wild animal?", "is a wild animal", "is not a wild animal"),
    _yes_no("animal", "{is} {it} an animal?", "is an animal", "is not an animal", GROUPS),
    _yes_no("can_eat", "can you eat {it}?", "can you eat", "can you not eat", GROUPS),
    _yes_no("sweet", "{does} {it} taste sweet?", "tastes sweet", "does not taste sweet"),
    _yes_no("on_tree", "{does} {it} grow on a tree?", "grows on a tree", "does not grow on a tree"),
    _yes_no("electric", "{does} {it} need electricity?", "needs electricity", "does not need electricity"),
    _yes_no("wheels", "{does} {it} have wheels?", "has wheels", "does not have wheels"),
    _yes_no("engine", "{does} {it} have an engine?", "has an engine", "does not have an engine"),
    _yes_no("sharp", "{is} {it} sharp?", "is sharp", "is not sharp"),
    _yes_no("round", "{is} {it} round?", "is round", "is not round"),
    _yes_no("gives_light", "{does} {it} give light?", "gives light", "does not give light"),
    _one_of("size", "{is} {it} big or small?", "Which of these is {}?", "big small"),
    _one_of("weight", "{is} {it} heavy or light?", "Which of these is {}?", "heavy light"),
    _one_of("touch", "{is} {it} hard or soft?", "Which of these is {}?", "hard soft"),
    _one_of("diet", "{does} {it} eat meat or plants?", "Which of these eats {}?", "meat plants"),
    _one_of("legs", "how many legs {does} {it} have?", "Which of these has {} legs?", "no two four six eight"),
    _one_of("cover", "what covers the body of {it}?", "The body of which of these is covered by {}?", 
          "fur feathers scales"),
    _one_of("color", "what color {is} {it} usually?", "Which of these is usually {}?",
          "red yellow green orange brown white black pink blue gray purple"),
    _one_of("material", "what {is} {it} made of?", "Which of these is made of {}?", "metal wood glass paper cloth"),
    Relation("who", "who uses {it}?", {
        user: f"Which of these is used by {'an' if user == 'athlete' else 'a'} {user}?"
        for user in ["doctor", "musician", "athlete", "carpenter", "scientist", "student", "painter", "cook"]}),
    _one_of("kind", "what kind of thing {is} {it}?", "Which of these is a kind of {}?",
          "animal bird insect plant fruit vegetable food drink vehicle building tool clothing instrument", GROUPS),
    Relation("home", "where {does} {it} live?", {
        "sea": "Which of these lives in the sea?", "farm": "Which of these lives on a farm?",
        "forest": "Which of these lives in the forest?", "jungle": "Which of these lives in the jungle?"}),
    Relation("use", "what {is} {it} used for?", {
        "eating": "Which of these is for eating?", "drinking": "Which of these is for drinking?",
        "wearing": "Which of these can you wear?", "music": "Which of these plays music?",
        "travel": "Which of these can you travel with?", "reading": "Which of these can you read?",
        "cutting": "Which of these can you cut with?", "writing": "Which of these can you write with?",
        "carrying": "Which of these can you carry things in?"}),
    Relation("place", "where do you find {it}?", {
        **{room: f"Which of these do you find in the {room}?"
           for room in ("kitchen", "bathroom", "office", "hospital", "garden", "sky", "sea")},
        "road": "Which of these do you find on the road?"}),
    Relation("worn_on", "on which part of the body do you wear {it}?", {
        "head": "Which of these do you wear on the head?", "eyes": "Which of these do you wear over the eyes?",
        "feet": "Which of these do you wear on the feet?", "hands": "Which of these do you wear on the hands?",
        "neck": "Which of these do you wear around the neck?", "body": "Which of these do you wear on the body?"}),
)  # fmt: skip
RELATIONS: dict[str, Relation] = {relation.name: relation for relation in _RELATIONS}


@cache
def _read_table() -> dict[tuple[str, str], Fact]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            (row["thing"], row["relation"]): Fact(
                by_name(row["thing"]),
                RELATIONS[row["relation"]],
                row["answer"],
                float(row["margin"]) if row["margin"] else None,
                cast(Split, row["split"]),
            )
            for row in csv.DictReader(file)
        }


def facts(relation: str | None = None, split: Split | None = None) -> list[Fact]:
    """Returns the facts of a relation, of a split, of both, or all facts, in the table's order."""
    facts_of_split = [fact for fact in _read_table().values() if split is None or fact.split == split]
    return [fact for fact in facts_of_split if relation is None or fact.relation.name == relation]


def fact(thing: Thing, relation: str) -> Fact | None:
    """Returns the table's fact about ``thing``, or None if it has none, because it leaves out what can be disputed."""
    return _read_table().get((thing.name, relation))
