"""Finds the questions that belong together: those of one group, and all about one picture, whatever their tasks."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from atv.evaluation.metrics.base import stable_hash

# Separates two names and occurs in neither.
_SEPARATOR = "\x1f"


def clusters_of(rows: pd.DataFrame) -> NDArray[np.int64]:
    """Returns the cluster of each question; questions of one group, and about one picture, are in one cluster.

    Args:
        rows: with the columns task and group, and picture if digests of pictures are known ("" for no picture).

    Returns:
        Numbers (rows,) that are the same in every table of the same questions.
    """
    groups = (rows["task"] + _SEPARATOR + rows["group"]).reset_index(drop=True)
    pictures = rows["picture"].fillna("").reset_index(drop=True) if "picture" in rows else pd.Series("", groups.index)
    names = pictures.where(pictures != "", groups)
    by_group, by_name = pd.factorize(groups)[0], pd.factorize(names)[0]
    count = len(rows)
    graph = coo_array((np.ones(count), (by_group, count + by_name)), shape=(2 * count, 2 * count))
    _, component = connected_components(graph, directed=False)
    # A cluster is named after the alphabetically first of its names.
    cluster_names = names.groupby(component[by_group]).transform("min")
    return cluster_names.map({name: stable_hash(name) for name in cluster_names.unique()}).to_numpy(np.int64)
