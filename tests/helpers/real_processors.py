"""Transformers' own processors of seven model types, in the sizes of the conformance suite's tiny twins.

Each has a tokenizer that is made here: one token per word, and the type's special tokens with the ids in its config.
"""

import transformers
from conformance.layout import BOS, END, EOS, IMAGE, PAD, START, VIDEO, VOCABULARY
from conformance.table import TYPES
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

WORDS = (
    "what is there ? a red star ring blue green Describe this picture . Is in the image Answer question using single "
    "word or phrase yes no user assistant :"
)

# Role and content, laid out as in each type's own template; only the words differ.
_BEFORE = "{% for m in messages %}{{ m['role'] }} : {% for p in m['content'] %}{% if p['type'] == 'image' %}"
_AFTER = (
    " {% else %}{{ p['text'] }} {% endif %}{% endfor %}<end> {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


def tokenizer(bos=False, **special):
    """A tokenizer of words and special tokens; ``special`` maps its attributes to a token and the token's id."""
    vocabulary = {"<pad>": PAD, "<bos>": BOS, "<end>": EOS} | dict(special.values())
    free = iter(id for id in range(VOCABULARY) if id not in vocabulary.values())
    for word in ("<unk>", *WORDS.split()):
        vocabulary.setdefault(word, next(free))
    made = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.Fuse()
    if bos:
        made.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    named = {name: token for name, (token, _) in special.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<bos>", eos_token="<end>", unk_token="<unk>",
        extra_special_tokens=named,
    )  # fmt: skip


def _template(picture, bos=""):
    return bos + _BEFORE + picture + _AFTER


def _qwen(kind, videos):
    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    sizes |= {"size": {"shortest_edge": 64, "longest_edge": 1024}}
    words = tokenizer(
        image_token=("<|image_pad|>", IMAGE),
        video_token=("<|video_pad|>", VIDEO),
        vision_bos_token=("<|vision_start|>", START),
        vision_eos_token=("<|vision_end|>", END),
    )
    images = transformers.Qwen2VLImageProcessor(**sizes)
    clips = getattr(transformers, videos)(**sizes)
    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    return getattr(transformers, kind)(images, words, clips, chat_template=_template(picture))


def _smolvlm():
    edge = {"longest_edge": 16}
    images = transformers.SmolVLMImageProcessor(size=edge, max_image_size=edge, do_image_splitting=False)
    clips = transformers.SmolVLMVideoProcessor(size=edge, max_image_size=edge)
    words = tokenizer(
        fake_image_token=("<fake_token_around_image>", START),
        image_token=("<image>", IMAGE),
        global_image_token=("<global-img>", END),
        end_of_utterance_token=("<end_of_utterance>", VIDEO),
        video_token=("<video>", 9),
    )
    template = _template("<image>")
    return transformers.SmolVLMProcessor(images, words, clips, image_seq_len=4, chat_template=template)


def _internvl():
    size = {"height": 16, "width": 16}
    words = tokenizer(
        start_image_token=("<img>", START),
        end_image_token=("</img>", END),
        context_image_token=("<IMG_CONTEXT>", IMAGE),
        video_token=("<video>", VIDEO),
    )
    images = transformers.GotOcr2ImageProcessor(size=size, crop_to_patches=False)
    clips = transformers.InternVLVideoProcessor(size=size)
    template = _template("<IMG_CONTEXT>")
    return transformers.InternVLProcessor(images, words, clips, image_seq_length=4, chat_template=template)


def _llava_onevision():
    size, pins = {"height": 12, "width": 12}, TYPES["llava_onevision"].config["image_grid_pinpoints"]
    words = tokenizer(image_token=("<image>", IMAGE), video_token=("<video>", VIDEO))
    images = transformers.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=pins)
    clips = transformers.LlavaOnevisionVideoProcessor(size=size)
    return transformers.LlavaOnevisionProcessor(
        images, words, clips, num_image_tokens=9, vision_feature_select_strategy="full",
        chat_template=_template("<image>"),
    )  # fmt: skip


def _gemma3():
    words = tokenizer(
        bos=True,
        image_token=("<image_soft_token>", IMAGE),
        boi_token=("<start_of_image>", START),
        eoi_token=("<end_of_image>", END),
    )
    images = transformers.Gemma3ImageProcessor(size={"height": 16, "width": 16})
    template = _template("<start_of_image>", "{{ bos_token }} ")
    return transformers.Gemma3Processor(images, words, image_seq_length=4, chat_template=template)


PROCESSORS = {
    "qwen2_vl": lambda: _qwen("Qwen2VLProcessor", "Qwen2VLVideoProcessor"),
    "qwen2_5_vl": lambda: _qwen("Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor"),
    "qwen3_vl": lambda: _qwen("Qwen3VLProcessor", "Qwen3VLVideoProcessor"),
    "smolvlm": _smolvlm,
    "internvl": _internvl,
    "llava_onevision": _llava_onevision,
    "gemma3": _gemma3,
}
