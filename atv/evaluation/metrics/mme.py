"""MME in points."""

import pandas as pd

from atv.evaluation.metrics.base import stable_hash
from atv.evaluation.metrics.yes_no import PairedYesNo

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")


class MMEPoints(PairedYesNo):
    """MME's score over its maximum; its parts are acc% + acc+% of each category seen, and their two sums.

    >>> rows = pd.DataFrame({"credit": [1.0, 0.0], "group": "1.png", "category": "count"})
    >>> MMEPoints().parts(rows)
    {'count': 50.0, 'perception': 50.0, 'cognition': 0}
    """

    def parts(self, answers: pd.DataFrame) -> dict[str, float]:
        values, strata = self.group_values(answers)
        # A group's value is the mean of two shares, its points the sum of two percentages.
        seen = {name: values[strata == stable_hash(name)] for name in PERCEPTION + COGNITION}
        points = {name: 200 * float(of_category.mean()) for name, of_category in seen.items() if len(of_category)}
        sums = {"perception": PERCEPTION, "cognition": COGNITION}
        return points | {name: sum(points.get(each, 0) for each in members) for name, members in sums.items()}
