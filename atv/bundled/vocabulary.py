"""The word-level tokenizer and the processor of the bundled model."""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlavaProcessor, PreTrainedTokenizerFast, ProcessorMixin
from transformers.models.clip import CLIPImageProcessorPil

from atv.bundled.drawing import SIDE
from atv.bundled.facts import BY_COLOR, CAPITALS, CONTINENTS, OBJECT, ROMAN
from atv.bundled.scenes import COLORS, COLUMNS, ROWS, SHAPES

PATCH = 6
SPECIAL = ("<pad>", "<unk>", "<image>", "<user>", "<assistant>", "<end>")
# What a patch of an empty cell, and one of a smudge, is called while the vision tower learns words.
NOTHING, SMUDGE = "nothing", "smudge"
_PHRASES = """
. ? A B C D a and animal are at above badge below capital color continent country describe double flower fruit gem has
how in is larger left many nothing number numbers numeral object of picture right roman row shape sides smudge sum the
there thing things unanswerable what where with written yes no
"""
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>"
    "{% for part in message['content'] %} {{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %} "
    "{% if message['role'] == 'assistant' %}<end> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def words() -> list[str]:
    """The vocabulary in a fixed order: special tokens, then all words sorted."""
    facts = [word for table in BY_COLOR.values() for word in table.values()]
    every = {*_PHRASES.split(), *ROWS, *COLUMNS, *SHAPES, *COLORS, *facts, *OBJECT.values(), *ROMAN.values()}
    every |= {*CAPITALS, *CAPITALS.values(), *CONTINENTS, *BY_COLOR, *(str(n) for n in range(20))}
    return [*SPECIAL, *sorted(every)]


def build_processor() -> LlavaProcessor:
    """A LLaVA processor for 54 x 54 pictures of 81 patches; the PIL backend is pinned, so pixels never differ."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words())}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        padding_side="left",
        additional_special_tokens=["<image>", "<user>", "<assistant>"],
    )
    size = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessorPil(size=size, crop_size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return LlavaProcessor(
        images,
        fast,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def save_processor(processor: ProcessorMixin, folder: Path) -> None:
    """Its PIL backend with it: transformers drops that from the class name, and would pick torchvision where it is."""
    processor.save_pretrained(folder)
    file = folder / "processor_config.json"
    config = json.loads(file.read_text())
    config["image_processor"]["image_processor_type"] = type(processor.image_processor).__name__
    file.write_text(json.dumps(config, indent=2) + "\n")
