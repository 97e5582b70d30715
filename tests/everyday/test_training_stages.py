"""A stage that was killed goes on with the batches that it has not had."""

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from atv.everyday.training.stages import Stage, fit


class Numbers(Dataset):
    """Batch ``i`` is ``i``; what was asked for is kept, and one of them may end the run."""

    def __init__(self, killed_at=None):
        self.killed_at, self.asked = killed_at, []

    def __len__(self):
        return 60

    def __getitem__(self, index):
        if index == self.killed_at:
            raise KeyboardInterrupt
        self.asked.append(index)
        return torch.full((1, 1), float(index))


class OneWeight(Stage):
    def __init__(self):
        super().__init__(nn.Linear(1, 1, bias=False), 60)
        nn.init.zeros_(self.model.weight)

    def training_step(self, batch, batch_idx):
        return (self.model(batch) - 3 * batch).square().mean() / 1000

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


def test_a_killed_stage_goes_on_with_the_batches_that_it_has_not_had(tmp_path):
    whole, killed, resumed = OneWeight(), Numbers(killed_at=55), Numbers()
    fit(whole, Numbers(), [], tmp_path / "whole" / "stage")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(OneWeight(), killed, [], tmp_path / "killed" / "stage")
    again = OneWeight()
    fit(again, resumed, [], tmp_path / "killed" / "stage")
    assert killed.asked == [*range(55)]
    # The last checkpoint is that of 50 steps.
    assert resumed.asked == [*range(50, 60)]
    assert torch.equal(again.model.weight, whole.model.weight) and whole.model.weight > 0.1
