import pytest
import torch

from atv.calibration.sums import SampleSums


def test_totals_do_not_depend_on_the_order_of_samples():
    terms = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 50)[:, None]
    forward, backward = SampleSums(), SampleSums()
    for sample in range(50):
        forward.add(sample, terms[sample])
        backward.add(49 - sample, terms[49 - sample])
    assert torch.equal(forward.total(), backward.total())
    assert forward.total().dtype == torch.float64


def test_no_samples_is_an_error():
    with pytest.raises(ValueError, match="no samples"):
        SampleSums().total()
