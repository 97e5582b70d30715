import pandas as pd

from atv.ablation.tables import markdown
from atv.reporting.markdown_table import Entry, Table


def test_headings_and_intervals_are_told_from_their_small_print():
    table = Table.parse(
        "# Title\n\n| method | reading<br>(150 groups) |\n|---|---|\n| ATV | 93.8 [92.2, 95.3] (80.1) |\n"
    )
    assert table.heads == [Entry("method"), Entry("reading", "(150 groups)")]
    assert table.rows == [[Entry("ATV"), Entry("93.8", "[92.2, 95.3] (80.1)")]]


def test_an_empty_cell_keeps_its_place():
    frame = pd.DataFrame({"rule": ["", "drift"], "why": ["no rule at all", ""]})
    rows = Table.parse(markdown(frame, "Title", "Caption")).rows
    assert [[entry.text for entry in row] for row in rows] == [["", "no rule at all"], ["drift", ""]]
