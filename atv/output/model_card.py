"""Writes the model card, README.md with its figure, from a pruning report."""

import json
from collections import defaultdict
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from matplotlib.figure import Figure

from atv.data.source_words import in_words
from atv.figures.saving import save_figure
from atv.records.files import write_text
from atv.records.page_parts import markdown
from atv.records.pruning_report import BaseModel, PruningReport, ScoreRow
from atv.runtime.hub import reads_as_hub_id, split_revision

FIGURE = "pruning.png"
_RULES = ("selection", "criterion", "refine", "reconstruct", "pattern", "allocation")


def write_card(folder: Path, report: PruningReport) -> None:
    """Writes report.json, README.md and pruning.png."""
    report.write(folder)
    save_figure(draw(report), folder / FIGURE, dpi=120)
    write_text(folder / "README.md", card(report))


def card(report: PruningReport) -> str:
    """Returns the card's text, which begins with the front matter for the Hugging Face hub."""
    base, (plan,) = _base(report), report.plans.values()
    sections = [
        f"---\n{_front_matter(base, library_name='transformers', pipeline_tag='image-text-to-text')}\n---\n",
        f"# {_short_name(base.model)}, {report.sparsity:.0%} of the decoder pruned\n",
        f"`{base.model}` ({base.kind}) with {report.sparsity:.2%} of its decoder's target weights, "
        f"{report.whole_model_sparsity:.2%} of all its parameters, {_removal_words(report)}: scored by "
        f"{plan['criterion']['class']} on the calibration tokens that {plan['selection']['class']} selects. "
        f"{_form(report)} The licence is the base model's.\n",
        f"![Sparsity, drift and pool by block]({FIGURE})\n",
        "## How it was made\n",
        _settings_table(report, plan),
        "\n## Sparsity by kind of Linear and block, %\n",
        _sparsities_table(report),
        "\n## What calibration saw\n",
        _blocks_table(report),
        *_scores_section(report),
        *_finetuning_section(report),
        "\n## Files beside the model\n",
        "`masks.safetensors` contains every mask, bit-packed; `report.json` contains all of the above and more. "
        "`atv verify FOLDER --base MODEL` checks that they agree with the weights.\n",
    ]
    return "\n".join(sections)


def _removal_words(report: PruningReport) -> str:
    return "removed" if report.smaller else "set to zero"


def _form(report: PruningReport) -> str:
    """Describes the form of the pruned model: dense tensors with zeros, or a smaller model."""
    if not report.smaller:
        return "Tensors are dense and hold the zeros, so it loads like the base model, and is as large and as fast."
    return f"It is an ordinary smaller model ({report.sizes}) and loads like the base model."


def write_masks_card(folder: Path, report: PruningReport, digest: str, updated: bool) -> None:
    """Writes the README.md of published masks; ``digest`` is the base model's SHA-256."""
    write_text(folder / "README.md", masks_card(report, digest, updated))


def masks_card(report: PruningReport, digest: str, updated: bool) -> str:
    """Returns the text of published masks' card; ``updated``: whether kept weights differ from the base model's."""
    base, (plan,) = _base(report), report.plans.values()
    kept_weights = (
        "`delta.safetensors` has the kept weights' new values." if updated else "Kept weights are the base model's."
    )
    sections = [
        f"---\n{_front_matter(base, library_name='atv')}\n---\n",
        f"# Masks for {_short_name(base.model)}, {report.sparsity:.0%} of the decoder\n",
        f"Which weights of `{base.model}` ({base.kind}) to set to zero, one bit per weight: {report.sparsity:.2%} of "
        f"its decoder's target weights, {report.whole_model_sparsity:.2%} of all its parameters. {kept_weights} No "
        "other weights of the base model are included; its own licence applies to it.\n",
        "```bash\natv masks apply FOLDER --base MODEL --output PRUNED\n```\n",
        "This command restores the pruned model bit for bit. MODEL is the base model, whose weights have the SHA-256 "
        f"`{digest}`; any other model is rejected.\n",
        "## How they were made\n",
        _settings_table(report, plan),
        "\n## Sparsity by kind of Linear and block, %\n",
        _sparsities_table(report),
        *_scores_section(report),
        *_finetuning_section(report),
    ]
    return "\n".join(sections) + "\n"


def _base(report: PruningReport) -> BaseModel:
    """Returns the base model, "unknown" in reports of earlier versions that do not name it."""
    return report.base or BaseModel("unknown", None, "unknown", "unknown")


def _front_matter(base: BaseModel, **fields: Any) -> str:
    # Only models on the hub can be linked. A local folder whose name looks like a hub id has no revision.
    on_hub = base.revision is not None and reads_as_hub_id(base.model)
    name, _ = split_revision(base.model)
    tags = ["atv", "pruning", "sparse", base.type]
    return ModelCardData(base_model=name if on_hub else None, **fields, tags=tags).to_yaml().strip()


def _settings_table(report: PruningReport, plan: Mapping[str, Any]) -> str:
    base = _base(report)
    rows = {
        "base model": base.model,
        "revision": base.revision or "unknown (a local folder)",
        "calibration data": _calibration(report.calibration),
        **{rule: _rule_words(plan[rule]) for rule in _RULES if rule in plan},
        "sparsity": plan["sparsity"],
        "blocks calibrated on pruned predecessors": "yes" if report.settings["propagate"] else "no",
        "seed": report.seed,
        "versions": ", ".join(f"{name} {version}" for name, version in report.versions.items()),
        "git revision": report.git,
        "hardware": report.hardware,
    }
    return markdown(["", ""], rows.items())


def _calibration(record: Mapping[str, Any]) -> str:
    if not record.keys() >= {"data", "ids"}:
        return "not recorded"
    return f"{in_words(record['data'], record.get('counts', ()))}, {len(record['ids'])} samples"


def _sparsities_table(report: PruningReport) -> str:
    kinds, by_cell = list(shares(report, "kind").items()), shares(report, "block", "kind")
    rows = [
        [block, *(f"{100 * by_cell[block, kind]:.2f}" if (block, kind) in by_cell else "" for kind, _ in kinds)]
        for block in sorted({block for block, _ in by_cell})
    ]
    rows.append(["all", *(f"{100 * share:.2f}" for _, share in kinds)])
    return markdown(["block", *(kind for kind, _ in kinds)], rows)


def _blocks_table(report: PruningReport) -> str:
    rows = []
    for block in report.blocks:
        (selected,) = block.selected.values()
        pools = (f"{selected[modality]} of {block.tokens[modality]}" for modality in ("visual", "text"))
        rows.append([block.block, f"{block.mean_drift:.4f}", *pools])
    return markdown(["block", "mean drift", "visual tokens in the pool", "text tokens in the pool"], rows)


def _scores_section(report: PruningReport) -> list[str]:
    """The section on scores and their retention of the dense model's scores; empty if nothing was evaluated."""
    if not report.scores:
        return []
    header = ["benchmark", "score", "of questions", "version", "retention %"]
    rows = [[name, f"{row.score:.2f}", row.of, row.version, _retention(row)] for name, row in report.scores.items()]
    return ["\n## Scores\n", markdown(header, rows)]


def _retention(row: ScoreRow) -> str:
    return "{value:.2f} [{low:.2f}, {high:.2f}]".format(**row.kept) if row.kept else ""


def _finetuning_section(report: PruningReport) -> list[str]:
    """The section on how the kept weights were trained afterwards; empty if they were not."""
    if not report.finetuning:
        return []
    rows = [(name, value) for name, value in report.finetuning.items() if isinstance(value, str | int | float)]
    return ["\n## Fine-tuning of the kept weights\n", markdown(["", ""], rows)]


def _rule_words(rule: Mapping[str, Any] | list[Mapping[str, Any]]) -> str:
    if isinstance(rule, list):
        return ", then ".join(_rule_words(step) for step in rule)
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in rule.items() if name != "class")
    return f"{rule['class']}({arguments})" if arguments else rule["class"]


def _short_name(model: str) -> str:
    return model.rstrip("/").rsplit("/", 1)[-1]


def shares(report: PruningReport, *fields: str) -> dict[Any, float]:
    """Returns the share of weights pruned by ``block``, by ``kind`` or by both; keys are values, or pairs of them."""
    pruned: dict[Any, float] = defaultdict(float)
    total: dict[Any, int] = defaultdict(int)
    for name, row in report.targets.items():
        values = {"block": row.block, "kind": name.rsplit(".", 1)[-1]}
        key = tuple(values[field] for field in fields) if len(fields) > 1 else values[fields[0]]
        pruned[key] += row.sparsity * prod(row.shape)
        total[key] += prod(row.shape)
    return {key: pruned[key] / total[key] for key in sorted(total)}


def draw(report: PruningReport) -> Figure:
    """Draws sparsity, drift and pool size over the decoder's blocks, in three panels."""
    # Not created through pyplot, which would keep it in memory.
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    sparsity, drift, pool = figure.subplots(1, 3)
    by_block = {block: 100 * share for block, share in shares(report, "block").items()}
    sparsity.bar(list(by_block), list(by_block.values()), color="#1d4ed8")
    sparsity.set(ylabel="pruned, %", ylim=(0, 100))
    block_numbers = [block.block for block in report.blocks]
    drift.plot(block_numbers, [block.mean_drift for block in report.blocks], "o-", color="#b45309", markersize=3)
    drift.set(ylabel="mean drift of visual tokens", ylim=(0, None))
    for modality, color in (("text", "0.6"), ("visual", "#b45309")):
        counts = [sum(selected[modality] for selected in block.selected.values()) for block in report.blocks]
        pool.plot(block_numbers, counts, "o-", color=color, label=modality, markersize=3)
    pool.set(ylabel="tokens in the pool", ylim=(0, None))
    pool.legend(frameon=False)
    for axes in (sparsity, drift, pool):
        axes.set_xlabel("decoder block")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
