"""``atv inspect``"""

from pathlib import Path
from typing import Any

from rich.console import Console

import atv
from atv.bundled import BUNDLED
from atv.commands.options import Rules
from atv.data import CalibrationData
from atv.data.calibration_batches import check_draw
from atv.data.sources import load_calibration
from atv.inspection import Shown, inspect_model
from atv.records.files import writable
from atv.runtime.trainer import quiet_trainer


def inspect(
    output: Path,
    shown: Shown = Shown(),
    model: str = BUNDLED,
    calibration: str | CalibrationData | None = None,
    samples: int = 128,
    batch_size: int = 8,
    rules: Rules = Rules(),
    linear: str = "q_proj",
    propagate: bool = True,
    seed: int = 0,
    plugin: list[Path] | Path | None = None,
    trainer: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Draw what pruning relies on: the visual tokens of a picture that each block selects, norms, and mask overlap.

    Writes tokens.png and tokens.json (the picture's visual tokens by block), norms.png and norms.csv (text against
    visual activations by block and channel), overlap.png and overlap.csv (IoU of the masks from visual-only and
    text-only calibration, by block and Linear), and inspect.json (how these were made). The model is not changed.

    Args:
        output: Folder to write the figures and numbers to.
        linear: Name or shell pattern that matches one Linear per block. The norms drawn are those of its input. If a
            rule selects tokens for every Linear separately, the tokens drawn are those selected for this Linear.
    """
    # Invalid input is reported before the model is loaded.
    shown.row(samples)
    atv.Pathway(**vars(rules)).parts()
    data = load_calibration(calibration, model)
    check_draw(data, samples, seed, batch_size)
    target, runner = writable(output, "output"), quiet_trainer(**(trainer or {}))
    loaded_model, processor = atv.load(model, trust_remote_code=trust_remote_code)
    inspection = inspect_model(
        loaded_model,
        processor,
        shown,
        data,
        samples=samples,
        batch_size=batch_size,
        **vars(rules),
        linear=linear,
        propagate=propagate,
        seed=seed,
        trainer=runner,
    )
    if runner.is_global_zero:
        inspection.write(target)
        Console().print(
            f"mean IoU of visual-only and text-only masks {inspection.mean_iou:.3f} "
            f"(random {inspection.random_iou:.3f}); tokens, norms and overlap are in {target}, drawn and as numbers",
            soft_wrap=True,
        )
