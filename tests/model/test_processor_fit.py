"""A processor that does not fit its model is refused when both are loaded, by file, field and value."""

import json
import shutil

import pytest
from transformers.image_utils import SizeDict
from transformers.utils import CHAT_TEMPLATE_DIR

from atv.bundled import BUNDLED_MODEL
from atv.model.loading import load_model
from atv.model.processor_fit import require_fit


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUNDLED_MODEL, tmp_path / "model")


def change(folder, file="processor_config.json", **fields):
    path = folder / file
    content = json.loads(path.read_text())
    for name, value in fields.items():
        if value is None:
            content.pop(name, None)
        else:
            content[name] = value
    path.write_text(json.dumps(content))


NAN = float("nan")
PIXELS = json.loads((BUNDLED_MODEL / "processor_config.json").read_text())["image_processor"]
FIELDS = {
    "no patch size": ({"patch_size": None}, "patch_size is missing, but config.json has vision_config.patch_size 6"),
    "another patch size": ({"patch_size": 9}, "patch_size is 9, but config.json has vision_config.patch_size 6"),
    "a patch size in words": ({"patch_size": "six"}, "patch_size is 'six'"),
    "no class token": ({"num_additional_image_tokens": 0}, "num_additional_image_tokens is 0"),
    "all features": ({"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy is 'full'"),
    "another image token": ({"image_token": "star"}, "; its image token is 'star' (id "),
    "NaN for a mean": (
        {"image_processor": PIXELS | {"image_mean": [0.5, NAN, 0.5]}},
        "it holds NaN, which is not a number",
    ),
    "no deviation": ({"image_processor": PIXELS | {"image_std": [0.5, 0.0, 0.5]}}, "into NaN or infinite values"),
    "pixels times 0": ({"image_processor": PIXELS | {"rescale_factor": 0.0}}, "into one value for all pixels"),
    "a mean of two": ({"image_processor": PIXELS | {"image_mean": [0.5, 0.5]}}, "cannot encode a picture"),
    "patches of another shape": (
        {"image_processor": PIXELS | {"patch_size": {"height": 6, "width": 7}}},
        "image_processor.patch_size is {'height': 6, 'width': 7}",
    ),
    "a list for a number": ({"patch_size": [6]}, "patch_size is [6]"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_fields_that_do_not_fit(case, folder):
    fields, message = FIELDS[case]
    change(folder, **fields)
    with pytest.raises(ValueError, match=r"^model: ") as error:
        load_model(folder)
    said = str(error.value)
    assert message in said and "processor_config.json" in said and "\n" not in said


def test_square_patches_may_be_given_by_height_and_width(folder):
    change(folder, image_processor=PIXELS | {"patch_size": {"height": 6, "width": 6}})
    load_model(folder)


def test_a_processor_of_pixtrals_kind_sizes_pictures_itself():
    """Whatever its image processor's own field says."""
    model, processor = load_model(BUNDLED_MODEL)
    processor.image_processor.patch_size = SizeDict(height=16, width=16)
    processor.spatial_merge_size = model.config.spatial_merge_size = 2
    require_fit(processor, model)
    for field in ("spatial_merge_size", "patch_size"):
        setattr(processor, field, 9)
        with pytest.raises(ValueError, match=rf"in processor_config\.json, {field} is 9, but config\.json has"):
            require_fit(processor, model)


BROKEN = {
    "no JSON": ("processor_config.json", "{"),
    "a list": ("processor_config.json", "[]"),
    "an unknown class": ("processor_config.json", '{"processor_class": "NoSuchProcessor"}'),
    "a tokenizer of words": ("tokenizer.json", '{"version": "1.0"}'),
    "a template that is none": ("chat_template.jinja", "{% for m in messages %}"),
    "a template that always raises": ("chat_template.jinja", "{{ raise_exception('no\nchat') }}"),
    "a template that prints nothing": ("chat_template.jinja", " "),
}


@pytest.mark.parametrize("case", BROKEN)
def test_files_that_cannot_be_used(case, folder):
    file, content = BROKEN[case]
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=r"^model: ") as error:
        load_model(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_named_templates_without_a_default(folder):
    (folder / CHAT_TEMPLATE_DIR).mkdir()
    for name in ("rag", "tool_use"):
        (folder / CHAT_TEMPLATE_DIR / f"{name}.jinja").write_text((folder / "chat_template.jinja").read_text())
    load_model(folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=r"has the chat templates .* but none called default"):
        load_model(folder)


def test_a_folder_without_a_picture_processor(folder):
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"^model: ") as error:
        load_model(folder)
    assert "processor" in str(error.value) and "\n" not in str(error.value)


def test_an_image_token_that_is_a_word(folder):
    """Visual tokens would be wherever the word is, and not where the picture is."""
    change(folder, "config.json", image_token_index=3, image_token_id=3)
    with pytest.raises(ValueError, match=r"in config.json, the image token has id 3, but the processor .* writes id"):
        load_model(folder)


def test_tokens_that_the_model_has_no_row_for(folder):
    change(folder, "tokenizer_config.json", extra_special_tokens=["<image>", "<user>", "<assistant>", "<more>"])
    with pytest.raises(ValueError, match=r"^model: its tokenizer has 1 tokens .* such as '<more>' \(id \d+ of"):
        load_model(folder)


def test_what_opens_a_picture_may_be_called_the_image_token(monkeypatch):
    """As Gemma's processors do: the token of the config stands behind it, once a patch."""
    model, processor = load_model(BUNDLED_MODEL)
    # As they do, too: it counts the processor's own token.
    monkeypatch.setattr(type(processor), "_check_special_mm_tokens", lambda *given, **named: None)
    question = processor.tokenizer("What is in the picture?", add_special_tokens=False)["input_ids"]
    processor.image_token_id = question[0]
    require_fit(processor, model)
