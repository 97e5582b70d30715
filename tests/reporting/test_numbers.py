import pytest

from atv.reporting.numbers import ours, strip


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((0.61234, 0.6021, 0.6234), ("0.612", "[0.602, 0.623]")),
        ((1234.5, 1000, 1500), ("1,234", "[1,000, 1,500]")),
        ((-0.04, -1.02, 0.94), ("0.0", "[\N{MINUS SIGN}1.0, 0.9]")),
        ((5.0, 5.0, 5.0), ("5.00", "[5.00, 5.00]")),
        ((float("nan"), float("nan"), float("nan")), ("not a number", "[not a number, not a number]")),
        ((3.0, 1.0, float("inf")), ("3.00", "[1.00, inf]")),
    ],
)
def test_two_digits_of_the_interval(finding, numbers, shown):
    assert ours(finding(*numbers)) == shown


def test_places_keep_their_order_and_proportions(finding):
    at = strip(finding(2.0, 1.0, 4.0, bound=0.0))
    assert at["bound"] < at["low"] < at["value"] < at["high"]
    assert (at["high"] - at["bound"]) / (at["low"] - at["bound"]) == pytest.approx(4, rel=1e-3)
    assert set(strip(finding(1.0, 1.0, 1.0, bound=1.0)).values()) == {50}
    assert strip(finding(1.0, 0.0, float("inf"))) is None
