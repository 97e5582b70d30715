import torch

from atv.calibration.sums import SampleSums


def test_totals_do_not_depend_on_the_order_of_samples():
    terms = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 50)[:, None]
    forward, backward = SampleSums(), SampleSums()
    for sample in range(50):
        forward.add("site", sample, terms[sample])
        backward.add("site", 49 - sample, terms[49 - sample])
    assert torch.equal(forward.totals()["site"], backward.totals()["site"])
    assert forward.totals()["site"].dtype == torch.float64


def test_keys_are_apart_and_what_a_sample_adds_twice_counts_twice():
    sums = SampleSums()
    for key, value in (("a", 1.0), ("b", 10.0), ("a", 2.0)):
        sums.add(key, 0, torch.tensor([value]))
    assert {key: total.tolist() for key, total in sums.totals().items()} == {"a": [3.0], "b": [10.0]}
