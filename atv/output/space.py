"""How much disk a run's output takes, known before calibration."""

from collections.abc import Mapping

from atv.calibration.pathway_plan import Plan
from atv.model.lvlm import LVLM
from atv.model.targets import Target


def output_bytes(lvlm: LVLM, targets: Mapping[str, Target], plan: Plan) -> int:
    """Bytes of the written model, its masks, and the finished blocks that are kept until it is written.

    Hidden states that wait on disk (``--offload disk``) come on top: they depend on the data.
    """
    tied = getattr(lvlm.model, "all_tied_weights_keys", {})
    state = ((name, value) for name, value in lvlm.model.state_dict().items() if name not in tied)
    model = sum(value.numel() * value.itemsize for _, value in state)
    weights = [target.weight for target in targets.values()]
    masks = sum(weight.shape[0] * -(-weight.shape[1] // 8) for weight in weights)
    updated = sum(weight.numel() * weight.itemsize for weight in weights) if plan.updates_weights else 0
    return model + 2 * masks + updated
