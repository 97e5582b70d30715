import copy
import functools
import os

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

from helpers.torchvision_operators import importable

# Where torchvision is there, transformers imports it with whatever is first asked of it.
importable()

import matplotlib.pyplot as plt  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from helpers.tiny import make_batch, random_llava  # noqa: E402
from hypothesis import settings  # noqa: E402
from lightning.fabric.utilities import registry  # noqa: E402
from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: E402
from transformers.utils import logging  # noqa: E402

# Machines differ in speed, examples do not.
settings.register_profile("atv", deadline=None, max_examples=50)
settings.load_profile("atv")

# Tiny models gain nothing from threads, and waiting threads are dear where cores are shared.
torch.set_num_threads(1)

# Every trainer asks all installed packages for callbacks, which takes a fifth of pruning a tiny model.
registry.entry_points = functools.cache(registry.entry_points)
# Half of what a figure takes is to lay its parts out, and nobody looks at these.
ConstrainedLayoutEngine.execute = lambda self, figure: None


@pytest.fixture(autouse=True)
def _the_process_as_it_was():
    """No outcome depends on the order of the tests: draws begin anew, what a test changes of the process is undone."""
    torch.manual_seed(0)
    verbosity, threads = logging.get_verbosity(), torch.get_num_threads()
    yield
    logging.set_verbosity(verbosity)
    torch.set_num_threads(threads)
    plt.close("all")


@pytest.fixture(scope="session")
def _random_llava():
    return random_llava()


@pytest.fixture
def llava(_random_llava):
    """A random LLaVA of three blocks that a test may prune."""
    return copy.deepcopy(_random_llava)


@pytest.fixture
def batches():
    """Five samples in three batches: padded on either side, and one without padding."""
    return [make_batch([5, 8], 1), make_batch([6], 2), make_batch([12, 4], 3, side="right")]


@pytest.fixture(scope="module")
def bundled():
    """The bundled model and its processor."""
    from atv.model.loading import load_model, model_folder

    return load_model(model_folder("bundled"))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with small copies of the nine benchmarks' data sets, only to be read."""
    from helpers.benchmark_data import write_benchmarks

    return write_benchmarks(tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture(scope="session")
def small_pool(tmp_path_factory):
    """A folder with eight rows of the bundled calibration data: drawing all of them takes seconds."""
    from atv.bundled.data import calibration_pool

    folder = tmp_path_factory.mktemp("pool")
    calibration_pool(8).save_to_disk(folder)
    return folder


@pytest.fixture(scope="session")
def pruned(tmp_path_factory, small_pool):
    """The bundled model as ``atv prune`` leaves it, calibrated on the text of a few samples; only to be read."""
    from helpers.pruned_folders import prune_by_command

    folder = tmp_path_factory.mktemp("pruned") / "sparse"
    return prune_by_command(folder, small_pool, "--samples", "4", "--selection", "TextOnly")
