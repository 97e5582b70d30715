"""Cells shared out among processes, stage by stage."""

import pytest

from atv.ablation import processes
from atv.ablation.processes import share_out
from atv.ablation.runner import CellOutcomes

STAGES = {"one first": [1, 5, 4], "one last": [4, 1], "ones": [1, 1], "none missing": [], "one process's": [6, 3]}


class Staged:
    """An ablation whose cells of a stage are known once all before it are finished, and what ran each."""

    def __init__(self, stages, fails=()):
        self.stages = [[f"{number}.{cell}" for cell in range(count)] for number, count in enumerate(stages)]
        self.ran_by, self.fails = {}, fails

    def run(self, part):
        """A shard that ran cells leaves what follows from them to the next call."""
        missing = []
        for cells in self.stages:
            own = [cell for cell in part.cells(cells) if cell not in self.ran_by and cell not in self.fails]
            self.ran_by |= dict.fromkeys(own, (part.number, part.count))
            missing = [cell for cell in cells if cell not in self.ran_by]
            if missing or own:
                break
        return [CellOutcomes(finished=list(self.ran_by), missing=missing)]


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)
def test_stages_of_several_cells_are_shared_and_single_cells_start_no_process(stages, tmp_path, monkeypatch):
    ablation, started = Staged(stages), []

    class Started:
        """Another process, which has run its shard as soon as it is started."""

        def __init__(self, command, **_):
            (part,) = (word.removeprefix("--shard=") for word in command if word.startswith("--shard="))
            started.append(part)
            ablation.run(processes.Shard.parse(part))

        def poll(self):
            return 0

        wait = poll

    monkeypatch.setattr(processes.subprocess, "Popen", Started)
    share_out(2, [], tmp_path, ablation.run)
    assert set(ablation.ran_by) == {cell for cells in ablation.stages for cell in cells}
    assert len(started) == sum(count > 1 for count in stages)
    for cells in ablation.stages:
        shares = {ablation.ran_by[cell] for cell in cells}
        assert shares == ({(1, 1)} if len(cells) == 1 else {(1, 2), (2, 2)})


def test_a_cell_that_fails_is_not_tried_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.subprocess, "Popen", lambda *_, **__: pytest.fail("a process for one cell"))
    ablation = Staged([1, 3], fails={"0.0"})
    share_out(2, [], tmp_path, ablation.run)
    assert not ablation.ran_by
