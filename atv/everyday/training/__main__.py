"""``make train-everyday``: trains what the everyday model adds to its pretrained halves, stage by stage.

python -m atv.everyday.training --base FOLDER --rehearsal FOLDER --work checkpoints/everyday
"""

from pathlib import Path

import lightning as L
import torch
from jsonargparse import auto_cli
from transformers import AutoModelForImageTextToText, AutoProcessor

from atv.everyday.training.language import DialogueBatches, LanguageStage, Rehearsal
from atv.everyday.training.low_rank import add_updates, fold
from atv.everyday.training.stages import fit
from atv.everyday.training.vision import PatchBatches, VisionStage


def train(
    base: Path,
    rehearsal: Path,
    work: Path = Path("checkpoints/everyday"),
    seed: int = 0,
    tower_rank: int = 32,
    language_rank: int = 16,
    vision_steps: int = 1200,
    sharpening_steps: int = 1200,
    language_steps: int = 1600,
    settling_steps: int = 400,
    threads: int = 2,
) -> None:
    """Train what the everyday model adds to its pretrained halves; a killed run goes on from its last checkpoint.

    Args:
        base: Folder of the two halves put together, untrained.
        rehearsal: Folder with plain English (*.txt) and chats (chat.jsonl) that the language model is not to forget.
        work: Folder for checkpoints and the training log.
        seed: Of scenes, dialogues and first weights.
        tower_rank: Rank of the updates of the vision tower.
        language_rank: Rank of the updates of the language model.
        vision_steps: Batches of 8 pictures for tower and projector.
        sharpening_steps: Likewise, from there on once more, with more handwriting.
        language_steps: Batches of 4 pictures for the language model, at a constant rate.
        settling_steps: Likewise, at a falling rate.
        threads: Of torch.
    """
    torch.set_num_threads(threads)
    L.seed_everything(seed)
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoProcessor.from_pretrained(base).tokenizer
    model.requires_grad_(False)
    projector = model.model.multi_modal_projector.requires_grad_(True)

    add_updates(model.model.vision_tower, tower_rank, seed)
    dev = [PatchBatches(split, seed, 4, 16) for split in ("dev", "unseen")]
    for name, steps in (("vision", vision_steps), ("sharpening", sharpening_steps)):
        seeing, pictures = VisionStage(model, tokenizer, steps), PatchBatches("train", seed, steps, 8, name)
        if name == "vision":
            seeing.match_scales(torch.cat([pictures[index][0] for index in range(4)]))
        fit(seeing, pictures, dev, work / name)
    fold(model.model.vision_tower)

    add_updates(model.model.language_model, language_rank, seed + 1)
    text = Rehearsal(rehearsal, tokenizer)
    for name, steps, falling in (("language", language_steps, False), ("settling", settling_steps, True)):
        projector.requires_grad_(True)
        dialogues = DialogueBatches(tokenizer, text, seed, steps, stage=name)
        fit(LanguageStage(model, steps, falling=falling), dialogues, [], work / name)


if __name__ == "__main__":
    auto_cli(train, as_positional=False)
