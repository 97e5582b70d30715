import pandas as pd
import pytest

from atv.ablation.shown_table import ShownTable, TableCell
from atv.ablation.tables import RETENTION

ROW = dict(zip(RETENTION, ("reading", "80.12", "150", "300", "2", "93.75", "92.2", "95.31", "", ""), strict=True))
AVERAGE = ROW | {"task": "average", "score": "", "seed_low": "90.0", "seed_high": "95.0"}


@pytest.fixture
def retention():
    """Two methods; the first has no share."""
    methods = [{"method": "dense", "share": ""}, {"method": "ATV", "share": "0.50"}]
    return pd.DataFrame([labels | row for labels in methods for row in (ROW, AVERAGE)])


def test_tasks_stand_side_by_side_with_their_small_print(retention):
    shown = ShownTable.of(retention)
    heads = ["method", "share", "seeds", "reading", "average"]
    assert [head.text for head in shown.heads] == heads and shown.heads[3].small == "(150 groups)"
    kept, average = TableCell("93.8", "[92.2, 95.3] (80.1)"), TableCell("93.8", "[92.2, 95.3]")
    assert shown.rows == [
        [*map(TableCell, labels), kept, average] for labels in (("dense", "", "2"), ("ATV", "0.50", "2"))
    ]
    assert "| reading<br>(150 groups) |" in shown.markdown() and "| 93.8 [92.2, 95.3] (80.1) |" in shown.markdown()


def test_columns_choose_tasks(retention):
    assert [head.text for head in ShownTable.of(retention, columns=["average"]).heads][3:] == ["average"]
    with pytest.raises(ValueError, match=r"columns: unknown reeding\. Choices: reading, average"):
        ShownTable.of(retention, columns=["reeding"])


def test_other_tables_stand_as_they_are_with_numbers_shortened():
    frame = pd.DataFrame({"rule": ["1.50", "a|b"], "iou": ["0.123456", ""], "seeds": ["128", "1e-07"]})
    shown = ShownTable.of(frame, words=["rule"])
    assert [[entry.plain for entry in row] for row in shown.rows] == [["1.50", "0.1235", "128"], ["a|b", "", "1e-07"]]
    assert shown.markdown().splitlines()[-1] == r"| a\|b |  | 1e-07 |"
