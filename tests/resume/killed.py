"""Runs that kill themselves: python killed.py FOLDER, one run a moment in FOLDER/<moment>."""

import os
import signal
import sys
from pathlib import Path

import torch
from helpers.tiny import make_batch, random_llava

import atv
from atv.records import run_folder
from atv.records.run_folder import RunFolder

BATCHES = [make_batch([5, 8], 1), make_batch([6], 2), make_batch([12, 4], 3, side="right")]


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def in_block(block):
    def arrange():
        # The first sample of block 0 is also what the rule is tried on.
        atv.DriftTopK.select = lambda self, tokens: (
            die() if (tokens.block, tokens.sample) == (block, 1) else tokens.text
        )

    return arrange


def before_the_manifest_of(block):
    def arrange():
        write, manifest = run_folder.write_json, f"{block:03d}.json"
        run_folder.write_json = lambda path, content: die() if path.name == manifest else write(path, content)

    return arrange


def before_the_outcome():
    RunFolder.write_outcome = die


# Moment -> (what makes it the last, blocks that are whole by then).
MOMENTS = {
    "in block 0": (in_block(0), 0),
    "in block 2": (in_block(2), 2),
    "before the manifest of block 1": (before_the_manifest_of(1), 1),
    "before the outcome": (before_the_outcome, 3),
}


def main(folder):
    torch.set_num_threads(1)
    for moment, (arrange, _) in MOMENTS.items():
        child = os.fork()
        if not child:
            arrange()
            atv.prune(random_llava(), BATCHES, run_dir=folder / moment)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, moment


if __name__ == "__main__":
    main(Path(sys.argv[1]))
