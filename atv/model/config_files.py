"""What a model's folder holds beside its weights, for a model whose weights are written shard by shard."""

import json
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save

from atv.records.files import write_json


def write_configs(folder: Path, model: PreTrainedModel, config: PreTrainedConfig) -> None:
    """Writes generation_config.json, the Python files of a model that brings its code, and config.json last."""
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    content = json.loads(config.to_json_string()) | {"architectures": [type(model).__name__]}
    for brought in (model, config):
        if brought._auto_class is not None:
            custom_object_save(brought, folder, content)
    write_json(folder / "config.json", content)
