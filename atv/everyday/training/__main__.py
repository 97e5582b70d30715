"""``make train-everyday``: trains, stage by stage, what the everyday model adds to its pretrained halves.

python -m atv.everyday.training --base FOLDER --rehearsal FOLDER --work checkpoints/everyday
"""

from pathlib import Path
from typing import Literal

import lightning as L
import torch
from jsonargparse import auto_cli
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration
from transformers import PreTrainedTokenizerBase as Tokenizer

from atv.everyday.training.language import DialogueBatches, LanguageStage, Rehearsal
from atv.everyday.training.stages import LEARNED, add_updates, export, fit, fold, load_updates, published_updates
from atv.everyday.training.vision import PatchBatches, VisionStage

TOWER, PROJECTOR, LANGUAGE = "model.vision_tower", "model.multi_modal_projector", "model.language_model"
StageName = Literal["vision", "sharpening", "language", "choosing", "settling"]
SEEING: tuple[StageName, ...] = ("vision", "sharpening")
SPEAKING: tuple[StageName, ...] = ("language", "choosing", "settling")
STEPS: dict[StageName, int] = {"vision": 1200, "sharpening": 1200, "language": 250, "choosing": 250, "settling": 100}


def train(
    base: Path,
    rehearsal: Path,
    output: Path,
    work: Path = Path("checkpoints/everyday"),
    start: Path | None = None,
    stages: tuple[StageName, ...] = (*SEEING, *SPEAKING),
    steps: dict[StageName, int] = STEPS,
    seed: int = 0,
    tower_rank: int = 32,
    language_rank: int = 16,
    threads: int | None = None,
) -> None:
    """Train what the everyday model adds to its pretrained halves; a killed run resumes from its last checkpoint.

    Args:
        base: Folder with the two halves joined, untrained.
        rehearsal: Folder with plain English (*.txt) and chats (chat.jsonl), so that the language model does not forget
            them.
        output: File for the trained updates, such as atv/everyday/adapters/updates.safetensors.
        work: Folder for checkpoints and the training log.
        start: File with earlier updates to continue from. Default: none; training starts from the pretrained halves.
        stages: Stages to run, in their order: vision and sharpening train the tower and the projector; language,
            choosing and settling train the language model and, at a lower rate, the projector.
        steps: Number of batches of each stage: of 8 pictures for the tower, of 4 for the language model.
        seed: Seed of the scenes, dialogues and initial weights.
        tower_rank: Rank of the updates of the vision tower.
        language_rank: Rank of the updates of the language model.
        threads: Number of torch's threads. Default: torch's own choice.
    """
    torch.set_num_threads(threads or torch.get_num_threads())
    L.seed_everything(seed)
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).requires_grad_(False)
    tokenizer = AutoProcessor.from_pretrained(base).tokenizer
    add_updates(model.model.vision_tower, tower_rank, seed)
    if start is not None:
        load_updates(model, published_updates(start, TOWER) | published_updates(start, PROJECTOR))
    _train_tower(
        model, tokenizer, [name for name in SEEING if name in stages], steps, seed, work, begun=start is not None
    )
    fold(model.model.vision_tower)
    add_updates(model.model.language_model, language_rank, seed + 1)
    if start is not None:
        load_updates(model, published_updates(start, LANGUAGE))
    rehearsed_text = Rehearsal(rehearsal, tokenizer)
    for name in (name for name in SPEAKING if name in stages):
        dialogues = DialogueBatches(tokenizer, rehearsed_text, seed, steps[name], stage=name)
        fit(LanguageStage(model, steps[name], falling=name == "settling"), dialogues, [], work / name)
    parameters = {} if start is None else published_updates(start)
    for name in (*SEEING, *SPEAKING):
        if (work / name / LEARNED).is_file():
            parameters |= load_file(work / name / LEARNED)
    untrained = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    export(untrained, parameters, f"seed {seed}, stages {stages}, steps {steps}", output)


def _train_tower(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    stages: list[StageName],
    steps: dict[StageName, int],
    seed: int,
    work: Path,
    begun: bool,
) -> None:
    """Runs the stages of the tower."""
    dev = [PatchBatches(split, seed, 4, 16) for split in ("dev", "unseen")]
    for name in stages:
        stage, batches = VisionStage(model, tokenizer, steps[name]), PatchBatches("train", seed, steps[name], 8, name)
        if name == "vision" and not begun:
            stage.match_scales(torch.cat([batches[index][0] for index in range(4)]))
        fit(stage, batches, dev, work / name)


if __name__ == "__main__":
    auto_cli(train, as_positional=False)
