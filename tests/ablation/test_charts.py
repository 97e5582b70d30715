"""What a figure says of its points."""

import pandas as pd
import pytest

from atv.ablation.charts import counts


@pytest.mark.parametrize(
    ("seeds", "said"), [([1, 3, 3], "3 seeds"), ([1, 1, 3], "1 to 3 seeds"), ([1, 1, 1], "1 seed"), ([1], "1 seed")]
)
def test_counts_are_those_of_the_pruned_models(seeds, said):
    number = len(seeds)
    low = [100.0, 90.0, 91.0][:number]
    rows = pd.DataFrame({"seeds": seeds, "questions": [650] * number, "low": low, "high": [100.0] * number})
    assert counts(rows) == f"650 questions and {said} a point, 95% intervals"
