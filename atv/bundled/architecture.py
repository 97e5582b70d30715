"""The untrained bundled model, a LLaVA of CLIP and Llama with 3.5 M parameters; its vocabulary and its processor."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from transformers.models.clip import CLIPImageProcessorPil
from transformers.models.llama.modeling_llama import LlamaAttention

from atv.bundled.drawing import SIDE
from atv.bundled.facts import BY_COLOR, CAPITALS, CONTINENTS, OBJECT, ROMAN
from atv.bundled.scenes import COLORS, COLUMNS, ROWS, SHAPES

PATCH = 6
SPECIAL = ("<pad>", "<unk>", "<image>", "<user>", "<assistant>", "<end>")
# Words for patches of an empty cell and of a smudge, used while the vision tower learns words.
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
    """Returns the vocabulary in a fixed order: special tokens, then all words, sorted."""
    fact_words = [word for table in BY_COLOR.values() for word in table.values()]
    vocabulary = {*_PHRASES.split(), *ROWS, *COLUMNS, *SHAPES, *COLORS, *fact_words, *OBJECT.values(), *ROMAN.values()}
    vocabulary |= {*CAPITALS, *CAPITALS.values(), *CONTINENTS, *BY_COLOR, *(str(n) for n in range(20))}
    return [*SPECIAL, *sorted(vocabulary)]


def build_processor() -> LlavaProcessor:
    """Returns a LLaVA processor for 54 x 54 pictures of 81 patches; the PIL backend is fixed, so pixels never vary."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words())}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast_tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        padding_side="left",
        additional_special_tokens=["<image>", "<user>", "<assistant>"],
    )
    size = {"height": SIDE, "width": SIDE}
    image_processor = CLIPImageProcessorPil(size=size, crop_size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return LlavaProcessor(
        image_processor,
        fast_tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def save_processor(processor: ProcessorMixin, folder: Path) -> None:
    """Saves a processor together with its PIL backend.

    transformers drops the backend from the class name, and would choose torchvision if that is installed.
    """
    processor.save_pretrained(folder)
    file = folder / "processor_config.json"
    config = json.loads(file.read_text())
    config["image_processor"]["image_processor_type"] = type(processor.image_processor).__name__
    file.write_text(json.dumps(config, indent=2) + "\n")


def build_model() -> LlavaForConditionalGeneration:
    """Returns a model with random weights, drawn from torch's global generator."""
    vocabulary = words()
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=128,
    )
    text = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=vocabulary.index("<pad>"),
        bos_token_id=None,
        eos_token_id=vocabulary.index("<end>"),
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=vocabulary.index("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(SIDE // PATCH) ** 2,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    for block in model.get_decoder().layers:
        _compare_by_content(
            block.self_attn, heads=text.num_attention_heads // 2, width=text.hidden_size // text.num_attention_heads
        )
        # Residual branches start at zero, so that tokens keep their identity until there is something to add.
        nn.init.zeros_(block.self_attn.o_proj.weight)
        nn.init.zeros_(block.mlp.down_proj.weight)
    nn.init.constant_(model.get_decoder().norm.weight, 0.2)
    return model


@torch.no_grad()
def _compare_by_content(attention: LlamaAttention, heads: int, width: int) -> None:
    """Initializes the first heads with equal query and key weights, so that similar tokens attend to each other.

    This is a mild form of mimetic initialization (Trockman and Kolter, arXiv 2305.09828). From a random start, look-ups
    by content (presence, "the colour of the star", multiple choice) stay at chance for thousands of steps.
    """
    rows = slice(0, heads * width)
    nn.init.orthogonal_(attention.q_proj.weight[rows])
    attention.k_proj.weight[rows] = attention.q_proj.weight[rows]
