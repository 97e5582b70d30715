"""Which questions belong together: a group's, and all about one picture, whatever their tasks."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from atv.evaluation.metrics.base import stable_hash

# Between two names, in none of them.
_AND = "\x1f"


def clusters_of(rows: pd.DataFrame) -> NDArray[np.int64]:
    """The cluster of each question: those of one group belong together, and those about one picture.

    Args:
        rows: with the columns task, group, and picture where pictures are known by digests ("" for none).

    Returns:
        Numbers (rows,) that are the same in every table of the same questions.
    """
    groups = (rows["task"] + _AND + rows["group"]).reset_index(drop=True)
    about = rows["picture"].fillna("").reset_index(drop=True) if "picture" in rows else pd.Series("", groups.index)
    names = about.where(about != "", groups)
    by_group, by_name = pd.factorize(groups)[0], pd.factorize(names)[0]
    count = len(rows)
    graph = coo_array((np.ones(count), (by_group, count + by_name)), shape=(2 * count, 2 * count))
    _, component = connected_components(graph, directed=False)
    # What a cluster is called: the first of its names, in the order of the alphabet.
    called = names.groupby(component[by_group]).transform("min")
    return called.map({name: stable_hash(name) for name in called.unique()}).to_numpy(np.int64)
