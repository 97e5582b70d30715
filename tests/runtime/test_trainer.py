import logging
import warnings

import lightning as L
import pytest

import atv
from atv.runtime.trainer import quiet, quiet_trainer, running


def process():
    """What a library must leave to the program that calls it."""
    return list(warnings.filters), logging.getLogger("lightning.pytorch.utilities.rank_zero").level


def test_a_call_of_the_library_leaves_the_process_as_it_was(llava, batches):
    before = process()
    trainer = quiet_trainer(enable_progress_bar=False)
    own = list(trainer.callbacks)
    atv.prune(llava, batches, trainer=trainer)
    assert process() == before and trainer.callbacks == own


def test_a_loop_that_fails_leaves_the_trainer_as_it_was():
    trainer, before = quiet_trainer(enable_progress_bar=False), process()
    own, more = list(trainer.callbacks), L.Callback()
    with pytest.raises(KeyError), running(trainer, more):
        assert trainer.callbacks == [*own, more] and process() != before
        raise KeyError
    assert trainer.callbacks == own and process() == before


def test_only_what_is_no_news_is_held_back():
    with pytest.warns(UserWarning, match="this matters") as told, quiet("of no interest"):
        warnings.warn("of no interest", stacklevel=1)
        warnings.warn("the loader does not have many workers which", stacklevel=1)
        warnings.warn("this matters", stacklevel=1)
    assert len(told) == 1
