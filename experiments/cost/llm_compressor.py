"""The worker behind ``experiments.cost.peer``; it runs in llm-compressor's environment, where atv is not installed.

python llm_compressor.py FOLDER PIPE expects a model, its tokenizer and batches.pt in the folder. Each line on standard
input names a modifier. The worker then prunes a fresh copy of the model, saves masks.safetensors and the first block's
weights.safetensors in the folder, and writes the seconds that pruning took to PIPE, an open file descriptor. Standard
output has llm-compressor's own messages.
"""

import json
import os
import sys
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader
from transformers import AutoModelForImageTextToText, AutoTokenizer

BLOCK = "LlamaDecoderLayer"


def main(folder: Path, pipe: int) -> None:
    """Loads everything, reports the installed versions, then prunes once for each line on standard input."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers import pruning

    answers = os.fdopen(pipe, "w", buffering=1)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoTokenizer.from_pretrained(folder)
    batches = torch.load(folder / "batches.pt", weights_only=True)
    installed = [f"{name} {version(name)}" for name in ("llmcompressor", "torch", "transformers")]
    print(json.dumps(", ".join(installed)), file=answers)
    for name in sys.stdin:
        fresh = deepcopy(model)
        ignored = ["re:.*lm_head", "re:.*vision_tower.*", "re:.*multi_modal_projector.*"]
        modifier = getattr(pruning, name.strip())
        step = modifier(sparsity=0.5, mask_structure="0:0", targets=[BLOCK], ignore=ignored)
        dataset = DataLoader(batches, batch_size=None)
        started = perf_counter()
        oneshot(
            model=fresh,
            processor=processor,
            dataset=dataset,
            recipe=[step],
            pipeline="sequential",
            sequential_targets=[BLOCK],
        )
        seconds = perf_counter() - started
        linears = {n: m for n, m in fresh.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in n}
        decoder = {name: linear.weight.detach() for name, linear in linears.items() if "language_model" in name}
        save_file({name: weight != 0 for name, weight in decoder.items()}, folder / "masks.safetensors")
        first_block = {name: weight for name, weight in decoder.items() if ".layers.0." in name}
        save_file(first_block, folder / "weights.safetensors")
        print(seconds, file=answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
