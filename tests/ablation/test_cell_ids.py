"""Cells of earlier runs are found again: their names, recorded when rules were described by what they keep."""

import pytest

import atv
from atv.ablation.cell import Cell
from atv.api import Pathway
from atv.plugins import find, load_file
from atv.records.digests import content_digest

RECORDED = {
    "AllTokens": "84edcca291148cc6",
    "TextOnly": "04ab710cef4852e2",
    "VisualOnly": "a07aa2631a3f9fdf",
    "DriftTopK": "69e0bf54e5725c0f",
    "DriftTopK, all arguments": "1fbb502970877120",
    "RandomVisual": "5f4c8f9916f08604",
    "AttentionTopK": "ef0096356232c76b",
    "DiversityTopK": "a408e95f890c92bc",
    "AMIA": "d049011a7c7d2f25",
    "TextFraction": "d70a2f8abc4d7971",
    "TextFraction of another": "3abc5f670ee5a0ba",
    "Magnitude": "fc566311b115df6d",
    "Wanda": "ea35358e70622b82",
    "RIA": "23007f1575b2ac81",
    "SparseGPT": "c45f9228480e87fe",
    "NOfM": "0d53e64dc4c312a9",
    "Unstructured": "a879b3604207bbe2",
    "PerLayer": "13e853237c97630b",
    "PerBlock": "961a265196f752a8",
    "Uniform": "36ac1e466dfb8274",
    "OWL": "b684d1127aa7c917",
    "DLP": "c0611d1007a63c1e",
    "DAS": "70b0f3a58c2a77c8",
    "ECoFLaP": "25cc62bcd2caec14",
    "ByKind": "7507e7d59d17471b",
    "by name": "2f7e1bfb6114a015",
}

CELLS = {
    "activation_geometry": "4bca2bbf109e239c",
    "alpha": "25c1bd95aea8cfec",
    "beyond_paper": "aa27641dda17c355",
    "calibration_domain": "121e7958d1b85c10",
    "calibration_size": "ebc9e11a50eb0529",
    "calibration_source": "0b33df01cc0dbdb5",
    "drift_profile": "d15a9994af3f256c",
    "efficiency": "00859a58e9ab3357",
    "main_results": "2ece7fc7c06fdaba",
    "mask_overlap": "cfa7958ec6547417",
    "propagation": "3ae62a5c1e9716ae",
    "selection_rule": "6f6fe22fbeded6f8",
    "text_stream": "77252670f9c2cc90",
    "text_retention": "1fdddb723619982a",
    "visual_sparsity": "291542af67e50b31",
}

# Of a grid that has grown since, the cells that were there; newer ones follow.
BEFORE = {"alpha": 13, "main_results": 65}

RULES = {
    "AllTokens": {"selection": atv.AllTokens()},
    "TextOnly": {"selection": atv.TextOnly()},
    "VisualOnly": {"selection": atv.VisualOnly()},
    "DriftTopK": {"selection": atv.DriftTopK()},
    "DriftTopK, all arguments": {"selection": atv.DriftTopK(None, 0.3, False, "floor", "model")},
    "RandomVisual": {"selection": atv.RandomVisual(share=0.2)},
    "AttentionTopK": {"selection": atv.AttentionTopK(alpha=2.0)},
    "DiversityTopK": {"selection": atv.DiversityTopK()},
    "AMIA": {"selection": atv.AMIA(neighbors=5)},
    "TextFraction": {"selection": atv.TextFraction(0.5)},
    "TextFraction of another": {"selection": atv.TextFraction(0.2, atv.RandomVisual(share=1.0))},
    "Magnitude": {"criterion": atv.Magnitude()},
    "Wanda": {"criterion": atv.Wanda()},
    "RIA": {"criterion": atv.RIA(1.0)},
    "SparseGPT": {"criterion": atv.SparseGPT(0.02)},
    "NOfM": {"pattern": atv.NOfM(2, 4)},
    "Unstructured": {"pattern": atv.Unstructured()},
    "PerLayer": {"pattern": atv.PerLayer()},
    "PerBlock": {"pattern": atv.PerBlock()},
    "Uniform": {"allocation": atv.Uniform()},
    "OWL": {"allocation": atv.OWL(threshold=3.0)},
    "DLP": {"allocation": atv.DLP()},
    "DAS": {"allocation": atv.DAS(0.2)},
    "ECoFLaP": {"allocation": atv.ECoFLaP(eps=0.01)},
    "ByKind": {"allocation": atv.ByKind({"*_attn.*": 0.3})},
    "by name": {"criterion": "RIA", "pattern": "2:4"},
}


def config_of(rules):
    return Cell({}, {"both": Pathway(**{"selection": "DriftTopK"} | rules)}).config()


@pytest.mark.parametrize("name", RULES)
def test_a_rules_arguments_name_its_cells_as_ever(name):
    assert content_digest([config_of(RULES[name])]) == RECORDED[name]


@pytest.mark.parametrize("name", CELLS)
def test_cells_of_shipped_ablations_are_named_as_ever(kinds, name):
    cells = kinds[name]().cells(3)[: BEFORE.get(name)]
    # The code of rules that an ablation has of its own counts besides.
    configs = [{field: value for field, value in cell.config().items() if field != "code"} for cell in cells]
    assert content_digest([configs]) == CELLS[name]


def test_the_code_of_a_rule_of_ones_own_is_part_of_its_cells(tmp_path):
    def config(body, selection):
        head = "import atv\n\n\nclass Retold(atv.TokenSelection):\n    def select(self, tokens):\n        return "
        (tmp_path / "retold.py").write_text(f"{head}{body}\n")
        load_file(tmp_path / "retold.py")
        rule = find("Retold", atv.TokenSelection, "selection")
        pathway = Pathway("Retold" if selection == "by name" else rule(), 0.5)
        return Cell({"rule": "own"}, {"both": pathway}).config()

    for selection in ("by name", "made"):
        assert config("tokens.text", selection) == config("tokens.text  # all", selection)
        assert config("tokens.text", selection) != config("tokens.visual", selection)
    assert "code" not in Cell({}, {"both": Pathway("DriftTopK", 0.5)}).config()
