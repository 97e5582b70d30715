"""The dashboard's panels draw what runs really log."""

import json
import re

import pytest
from helpers.tracked_runs import read_all

from atv.tracking import keys
from atv.tracking.dashboard_panels import sections, specification, workspace


@pytest.fixture(scope="module")
def panels():
    return [panel for section in sections() for panel in section.panels]


def logged_keys(runs):
    found = {key for run in runs.values() for row in run.history for key in row}
    return found | {key.removesuffix("/filenames") for key in found}


def test_every_key_and_pattern_is_really_logged(logged, panels):
    found = logged_keys(read_all(logged[0]))
    for panel in panels:
        assert bool(panel.metrics) != bool(panel.pattern)
        assert set(panel.metrics) <= found
        assert not panel.pattern or any(re.search(panel.pattern, key) for key in found), panel.pattern
        assert not panel.x or panel.x in found


def test_every_grouping_is_a_column_of_the_config(logged, panels):
    runs = [run for run in read_all(logged[0]).values() if run.kind == "cell"]
    for panel in panels:
        assert panel.kind == "image" or all(panel.by in run.config for run in runs)


def test_axes_are_those_that_the_runs_define(logged, panels):
    run = next(run for run in read_all(logged[0]).values() if run.config.get("pruned_pathway") == "visual")
    keys = {key for row in run.history for key in row}
    for panel in (panel for panel in panels if panel.kind == "line"):
        own = [key for key in keys if key in panel.metrics or (panel.pattern and re.search(panel.pattern, key))]
        for key in own:
            globs = [glob for glob in run.axes if key == glob or (glob.endswith("*") and key.startswith(glob[:-1]))]
            assert [run.axes[glob] for glob in globs] == [panel.x], key


def test_text_and_visual_are_compared_by_sparsity_source_block_and_masks(panels):
    titles = [panel.title for panel in panels]
    assert len(set(titles)) == len(titles)
    for phrase in ("sparsity, one line per pruned pathway", "Text pathway pruned", "Visual pathway pruned", "Overlap"):
        assert any(phrase in title for title in titles)
    by_block = [panel.title for panel in panels if panel.x == keys.BLOCK]
    for phrase in ("activation of text", "activation of visual", "drift", "K: visual tokens"):
        assert any(phrase in title for title in by_block)


def test_the_workspace_holds_the_same_panels(panels):
    pytest.importorskip("wandb_workspaces")
    made = workspace("someone", "atv", sections())
    view = json.loads(made._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    shown = view["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in shown] == [section.name for section in sections()]
    configs = [panel["config"] for section in shown for panel in section["panels"]]
    assert [config["chartTitle"] for config in configs] == [panel.title for panel in panels]
    for config, panel in zip(configs, panels, strict=True):
        keys = config.get("metrics") or config.get("mediaKeys") or []
        assert keys == list(panel.metrics) and config.get("metricRegex", "") == panel.pattern
        assert config.get("xAxis", "") == panel.x
        assert config.get("groupBy", "") == (f"{panel.by}.value" if panel.by else "")


def test_without_an_account_the_command_writes_the_specification(tmp_path, capsys, monkeypatch):
    from atv.cli import main

    assert main(["dashboard"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == json.loads(json.dumps(specification())) and "wandb sync" in captured.err
    monkeypatch.setenv("WANDB_MODE", "online")
    assert main(["dashboard", "--output", str(tmp_path / "dashboard.json")]) == 0
    assert json.loads((tmp_path / "dashboard.json").read_text()) == json.loads(captured.out)
    assert main(["dashboard"]) == 2 and "--entity" in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(ValueError, match=r"pip install wandb-workspaces"):
        workspace("someone", "atv", sections())
