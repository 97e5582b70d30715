"""Grids suit a model: the bundled one's are those of all results so far, the everyday one's are milder."""

import json
import re
from pathlib import Path

import pytest
from helpers.any_results import AnyResults

from atv.ablation import SUITED, Levels
from atv.ablation.levels import PAPER
from atv.bundled import BUNDLED, BUNDLED_MODEL
from atv.data import CaptionedImages
from atv.everyday.assembly.made_folder import EVERYDAY
from atv.patterns import NOfM

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "ablations").glob("*.py"))
# Those whose results of the bundled model are kept.
KEPT = sorted(file.stem for file in FILES if (ROOT / "docs" / "results" / file.stem).is_dir())
# Findings of these are made of retention and differences alone, of cells that are known before others are finished.
# Recipes are known once the search is through, and the bundled model reads no English.
UNTOLD = {"activation_geometry", "drift_profile", "efficiency", "mask_overlap", "plain_text", "recipes"}
CLAIMING = sorted(set(KEPT) - UNTOLD)
MODELS = {BUNDLED: SUITED[BUNDLED], EVERYDAY: SUITED[EVERYDAY], "other": PAPER}
# These calibrate on scenes that a model was trained on.
OF_OWN_SCENES = {"calibration_domain", "recipes"}


def other_is_refused(name, model):
    return name in OF_OWN_SCENES and model == "other"


def written(name, file):
    return json.loads((ROOT / "docs" / "results" / name / file).read_text())


@pytest.mark.parametrize("name", KEPT)
def test_the_bundled_models_tables_are_as_ever(kinds, name):
    run, ablation = written(name, "run.json"), kinds[name]()
    shown = list({json.dumps(cell["labels"]): cell["labels"] for cell in run["cells"]}.values())
    labels = [dict(cell.labels) for cell in ablation.cells(0)]
    # Those that depend on others come last, and newer methods behind all that was published.
    both = min(len(shown), len(labels))
    assert shown[:both] == labels[:both]
    # How intervals are made changed after some of these were published.
    ours, before = (caption.split(" with 95%")[0] for caption in (ablation.caption, run["caption"]))
    assert ours == before and ablation.question == run["question"]
    seeds = {(json.dumps(cell["labels"]), cell["seed"]) for cell in run["cells"]}
    later = range(run["whole_seeds"], len(run["seeds"]))
    claimed = {json.dumps(dict(cell.labels)) for cell in ablation.cells(0) if ablation.claimed(cell) and cell.pathways}
    assert {text for text, seed in seeds if seed in later and json.loads(text) in labels} == (
        claimed if later else set()
    )


@pytest.mark.parametrize("name", CLAIMING)
def test_the_bundled_models_findings_are_as_ever(kinds, name):
    for ours, before in zip(kinds[name]().findings(AnyResults()), written(name, "findings.json"), strict=True):
        said = (ours.claim, ours.paper, ours.unit, ours.bound, ours.note)
        assert said == tuple(before[field] for field in ("claim", "paper", "unit", "bound", "note"))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_model_is_pruned_at_its_own_levels(kinds, file, model):
    ablation = kinds[file.stem](MODELS[model])
    if other_is_refused(file.stem, model):
        with pytest.raises(ValueError, match=f"model: {file.stem} calibrates on scenes that a model was trained on"):
            ablation.cells(0)
        return
    cells, own = ablation.cells(0), ablation.levels
    pruned = [pathway for cell in cells for pathway in cell.pathways.values()]
    # What goes whole has shares of its own: it is asked for what it buys.
    whole = ("AttentionHeads", "FFNChannels", "WholeBlocks", "WholeExperts")
    weights = [pathway for pathway in pruned if pathway.pattern not in whole]
    assert {pathway.sparsity for pathway in weights if pathway.sparsity} <= set(own.curve)
    assert len({cell.title for cell in cells}) == len(cells)
    assert {pathway.pattern for pathway in weights} <= {*own.patterns, "unstructured", "PerBlock", "PerLayer"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", [*CLAIMING, "pilot"])
def test_findings_are_of_cells_that_are_run_and_claimed(kinds, name, model):
    if other_is_refused(name, model):
        return
    ablation, results = kinds[name](MODELS[model]), AnyResults()
    findings = ablation.findings(results)
    assert findings and len({each.claim for each in findings}) == len(findings)
    run = [dict(cell.labels) for cell in ablation.cells(0) if ablation.claimed(cell)]
    later = {"drift, equal K", "random, equal K"}
    read = [labels for labels in results.read if labels.get("rule") not in later]
    assert all(any(labels.items() <= own.items() for own in run) for labels in read)


def test_the_papers_numbers_stand_at_the_papers_sparsities_alone(kinds):
    findings = kinds["visual_sparsity"](SUITED[EVERYDAY]).findings(AnyResults())
    assert [(each.claim.split("%")[0][-2:], each.paper) for each in findings] == [
        ("50", "99.37%"),
        ("30", "no number"),
        ("40", "no number"),
    ]
    main = {each.claim: each.paper for each in kinds["main_results"](SUITED[EVERYDAY]).findings(AnyResults())}
    assert main["ATV-Pruning keeps more than Wanda at 50%."] == "5.64 points"
    assert main["ATV-Pruning keeps more than Wanda at 40%."] == "no number"
    assert main["ATV-Pruning keeps more than Wanda at 6:8."] == "no number"
    notes = [each.note for each in kinds["alpha"](SUITED[EVERYDAY]).findings(AnyResults())]
    assert not any(notes) and any(each.note for each in kinds["alpha"]().findings(AnyResults()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_one_sparsity_is_claimed_of_once(kinds, file):
    ablation = kinds[file.stem](Levels.suited(EVERYDAY, "0.5"))
    assert len({cell.title for cell in ablation.cells(0)}) == len(ablation.cells(0))
    if file.stem not in (UNTOLD - {"plain_text"}) | {"expert_modality"}:
        claims = [each.claim for each in ablation.findings(AnyResults())]
        assert len(set(claims)) == len(claims)


@pytest.mark.parametrize("model", MODELS)
def test_data_that_are_mixed_are_the_runs_own_where_some_were_named(kinds, model):
    named = CaptionedImages("my_pictures")
    for name, own in (("plain_text", "text"), ("text_stream", "calibration")):
        ablation = kinds[name](MODELS[model])
        assert not any("CaptionedImages" in str(cell.config()) for cell in ablation.cells(0))
        ablation.calibration_data = named
        cells = [cell for cell in ablation.cells(0) if cell.labels[own] in ("a quarter", "half", "dialogues")]
        assert cells and all("my_pictures" in str(cell.config()) for cell in cells)
    prose = [str(cell.config()) for cell in kinds["plain_text"](MODELS[model]).cells(0)]
    assert any("EverydayProse" in config for config in prose) == (model != BUNDLED)


def test_what_was_made_from_a_model_is_pruned_at_its_levels():
    assert Levels.suited(str(BUNDLED_MODEL)) == SUITED[BUNDLED] and Levels.suited("owner/name") == PAPER


def test_the_pilot_is_small_and_has_what_it_compares(kinds):
    cells = kinds["pilot"](SUITED[EVERYDAY]).cells(0)
    assert len(cells) == 59
    by_setting = {}
    for cell in cells:
        by_setting.setdefault(cell.labels["setting"], set()).add(cell.labels["method"])
    assert list(by_setting) == ["0%", "20%", "30%", "40%", "50%", "2:4", "4:8", "6:8"]
    assert all(by_setting[share] >= {"visual pathway", "text pathway"} for share in ("20%", "30%", "40%", "50%"))
    compared = {"Magnitude", "Wanda", "SparseGPT", "AMIA", "RIA", "text only", "ATV"}
    assert by_setting["40%"] == by_setting["50%"] >= compared | {"TAMP", "PerBlock, ATV", "attention", "random"}
    assert by_setting["2:4"] == by_setting["4:8"] == compared
    for model in MODELS.values():
        assert len(kinds["pilot"](model).cells(0)) <= 60


def test_levels_are_ordered_and_within_the_curve():
    for own in MODELS.values():
        assert own.curve == tuple(sorted(own.curve)) and own.compared == tuple(sorted(own.compared))
        assert set(own.compared) <= set(own.curve)
        assert all(NOfM.parse(pattern) for pattern in own.patterns)
    everyday = SUITED[EVERYDAY]
    assert (everyday.mild, everyday.middle, everyday.hard) == (0.3, 0.4, 0.5)
    assert (SUITED[BUNDLED].mild, SUITED[BUNDLED].middle, SUITED[BUNDLED].hard) == (0.5, 0.6, 0.7)
    assert PAPER.mild_and_hard == PAPER.middle_and_hard == (0.5, 0.6)


@pytest.mark.parametrize("given", ["0.3,0.2", [0.2, 0.3, 0.3]])
def test_levels_of_ones_own_stand_in_and_are_recorded(given):
    own = Levels.suited(EVERYDAY, given, "2:4")
    assert own.curve == own.compared == (0.2, 0.3) and own.patterns == ("2:4",)
    assert own.record() == {"sparsities": "0.2,0.3", "patterns": "2:4"}
    assert Levels.suited(EVERYDAY, own.record()["sparsities"], own.record()["patterns"]) == own
    assert SUITED[EVERYDAY].record() == {"sparsities": None, "patterns": None}
    assert own.nearest(0.5) == 0.3 and own.papers_and_own(0.5, own.mild) == (0.2,)
    assert Levels.suited(EVERYDAY, patterns="[2:4, 4:8]").patterns == ("2:4", "4:8")
    without = Levels.suited(EVERYDAY, patterns="none")
    assert without.patterns == () and Levels.suited(EVERYDAY, **without.record()) == without
    alone = Levels.suited("other", "0.4")
    assert alone.mild_and_hard == alone.middle_and_hard == (0.4,) == (alone.mild,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsities": "0.2,50"}, "sparsities: expected shares above 0 and below 1, such as 0.2,0.3; got '50'"),
        ({"sparsities": "much"}, "got 'much'"),
        ({"sparsities": []}, "sparsities: expected at least one"),
        ({"patterns": "2:4,4-8"}, "patterns: '4-8' is not N:M such as 2:4"),
        ({"patterns": "4:2"}, "patterns: '4:2' is not N:M such as 2:4"),
    ],
)
def test_levels_that_are_none_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Levels.suited(BUNDLED, **options)
