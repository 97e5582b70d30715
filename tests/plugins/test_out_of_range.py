"""Arguments of rules that are out of range are refused by their names."""

import pytest

import atv
from atv.quantization import AWQ, GPTQ


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (atv.DriftTopK, {"alpha": 1.0, "share": 0.5}, "either alpha or share"),
        (atv.DriftTopK, {"alpha": -1.0}, "alpha: expected 0 or more"),
        (atv.DriftTopK, {"share": float("inf")}, "share: expected"),
        (atv.DriftTopK, {"rounding": "up"}, "rounding: expected 'round' or 'floor'"),
        (atv.DriftTopK, {"drift_dtype": "float16"}, "drift_dtype: expected"),
        *(
            (atv.AMIA, {name: -1}, f"{name}: expected 0 or more, got -1")
            for name in ("neighbors", "decay", "tolerance")
        ),
        (atv.TextFraction, {"fraction": 1.5}, r"fraction: expected a number in \[0, 1\], got 1.5"),
        (atv.RIA, {"power": -1}, "power: expected 0 or more, got -1"),
        (atv.SparseGPT, {"damping": 0}, "damping: expected"),
        (atv.SparseGPT, {"block": 0}, "block: expected"),
        (atv.ADMM, {"damping": 0}, "damping: expected more than 0"),
        (atv.ADMM, {"growing": 21}, r"growing: expected 1 to 20 \(iterations\), got 21"),
        (atv.ALPS, {"penalty": -1}, "penalty: expected more than 0"),
        (atv.ALPS, {"polish": 0}, "polish: expected 1 or more"),
        (atv.DSnoT, {"threshold": -1}, "threshold: expected 0 or more, got -1"),
        (atv.SparseSwaps, {"swaps": 0}, "swaps: expected 1 or more, got 0"),
        (atv.SparseSwaps, {"candidates": 0}, "candidates: expected 1 or more, got 0"),
        (atv.LeastSquares, {"damping": 0}, "damping: expected"),
        (atv.LeastSquares, {"tolerance": 0}, "tolerance: expected"),
        (atv.LeastSquares, {"iterations": -1}, "iterations: expected"),
        (atv.FFNChannels, {"multiple": 0}, "multiple: expected 1 or more, got 0"),
        (atv.AttentionHeads, {"scored": "rows"}, "scored: expected 'structure' or 'reader', got 'rows'"),
        (atv.OWL, {"spread": -1}, "spread: expected"),
        (atv.OWL, {"threshold": float("nan")}, "threshold: expected"),
        (atv.DLP, {"spread": -1}, "spread: expected"),
        (atv.DAS, {"slack": 2}, "slack: expected"),
        (atv.ECoFLaP, {"eps": 0}, "eps: expected"),
        (atv.ByKind, {"kinds": {"x": 1.0}}, "kinds: expected a number in"),
        *((GPTQ, {name: 0}, f"{name}: expected") for name in ("damping", "block")),
        *((AWQ, {name: 0}, f"{name}: expected") for name in ("exponents", "clips")),
    ],
)
def test_is_refused_by_name(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)
