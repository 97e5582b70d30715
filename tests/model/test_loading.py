import importlib.util
import json
import shutil

import pytest

from atv.bundled import BUNDLED_MODEL
from atv.model.loading import load_processor


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
def test_a_processor_that_needs_a_missing_library(tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED_MODEL / name, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"}))
    kinds = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(kinds))
    with pytest.raises(
        ValueError, match=r"model: its processor \('.*'\) cannot be made: .* requires the Torchvision library"
    ):
        load_processor(tmp_path)
