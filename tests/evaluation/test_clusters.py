"""What belongs together, and that scores know it."""

import numpy as np
import pandas as pd

from atv.evaluation.clusters import clusters_of
from atv.evaluation.scores import retention, task_scores


def rows(pictures):
    """Questions of two tasks, a group each, by picture; every third one is answered wrongly."""
    made = [
        {"task": task, "metric": "ExactMatch", "group": f"{task}-{place}", "picture": picture, "category": ""}
        | {"question_id": f"{task}-{place}", "credit": float((place + shift) % 3 > 0)}
        for shift, task in enumerate(("reading", "relations"))
        for place, picture in enumerate(pictures)
    ]
    return pd.DataFrame(made)


def test_questions_of_a_group_or_about_a_picture_belong_together():
    table = rows(["a", "b", "c", "", ""])
    table.loc[1, "group"] = table.loc[0, "group"]  # a group about two pictures brings together what is about either
    found = pd.Series(clusters_of(table), index=table["question_id"])
    assert found[["reading-0", "reading-1", "relations-0", "relations-1"]].nunique() == 1
    assert found["reading-2"] == found["relations-2"] and found.nunique() == 1 + 1 + 4 and (found >= 0).all()


def test_a_cluster_is_the_same_in_every_table():
    table = rows(["a", "b", "c", "", ""])
    turned = table.sample(frac=1, random_state=0)
    found, again = (pd.Series(clusters_of(each), index=each["question_id"]) for each in (table, turned))
    assert found.equals(again[found.index])
    part = table[table["task"] == "relations"]
    assert (pd.Series(clusters_of(part), index=part["question_id"]) == found[part["question_id"]]).all()


def test_where_no_picture_is_known_each_group_stands_by_itself():
    table = rows(["a", "a", "b"]).drop(columns="picture")
    assert len(np.unique(clusters_of(table))) == 6


def test_few_pictures_make_a_wider_interval_than_as_many_questions_about_pictures_of_their_own():
    alone, shared = rows(list("abcdefghijkl")), rows(list("aaabbbcccddd"))
    pruned = alone["credit"].to_numpy() * (np.arange(24) % 12 > 2)  # what is asked about the first three is lost
    spans = []
    for dense in (alone, shared):
        kept = retention(task_scores(dense), task_scores(dense.assign(credit=pruned)))["average"]
        spans.append((kept.value, kept.high - kept.low))
    assert spans[0][0] == spans[1][0] and spans[1][1] > 1.5 * spans[0][1]


def test_no_question_makes_no_cluster():
    assert len(clusters_of(rows([]).reindex(columns=["task", "group", "picture"], fill_value=""))) == 0
    assert task_scores(rows(["a"]).iloc[:0]) == {}
