"""Answers of two pruned models drawn from real ones, with a difference that is known.

``real_answers.npz`` has what the bundled model answered to the first 40 groups of each task of ``test``: dense, and
pruned to 60% (ATV and text only) and to 70% (ATV and Wanda), each calibrated with three seeds' 128 samples. A group is
drawn with all of its answers, so that its difficulty, what dense and pruned models share, and how answers move with the
seed are the real ones; categories keep their shares.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atv.evaluation.scores import kept_share
from atv.statistics.estimates import mean_over

REAL = dict(np.load(Path(__file__).parent / "real_answers.npz", allow_pickle=False))
# So many standard deviations from its mean, no more, is a seed's share of lost answers: then it is never below 0.
CLIP = 3
TASKS = len(REAL["tasks"])


@dataclass(frozen=True)
class World:
    """Two methods that keep the same, or of which the first keeps ``gap`` points more, whatever questions and seeds.

    For no difference each group's answers are given to the two methods in an order of its own. Seeds differ as answers
    do between the real seeds and, beyond it, by ``scatter`` (points of average retention, standard deviation of one
    seed of one method): a share of right answers that is lost, normal about its mean, in all tasks alike.
    """

    pair: tuple[str, str]
    scatter: float = 0.0
    gap: float = 0.0

    def drawn(self, rng, repetitions, seeds, groups):
        """Categories and answers by task: dense (repetitions, groups), both methods (repetitions, seeds, groups)."""
        lost = self._lost(rng, (2, repetitions, seeds, 1))
        for task in range(TASKS):
            categories = np.resize(REAL["strata"][task], groups)
            place, order = self._places(rng, task, categories, repetitions)
            answers = [np.where(order, *pair) for pair in self._answers(rng, task, place, seeds)]
            kept = [
                given * (rng.random(given.shape, np.float32) >= share)
                for given, share in zip(answers, lost, strict=True)
            ]
            kept[1] = kept[1] * (rng.random(kept[1].shape, np.float32) >= self._extra)
            yield categories, REAL["dense"][task][place], kept

    def _places(self, rng, task, categories, repetitions):
        """Which real group stands where (repetitions, groups), and whose answers are whose."""
        own = [np.flatnonzero(REAL["strata"][task] == category) for category in categories]
        place = np.stack([rng.choice(among, repetitions) for among in own], axis=1)
        return place, rng.random((repetitions, 1, len(categories))) < 0.5

    def _answers(self, rng, task, place, seeds):
        """Of the two methods, as they are and exchanged: each seed's answer is one of the three real seeds'."""
        shape = (len(place), seeds, place.shape[1])
        first, second = (
            REAL[name][task][rng.integers(3, size=shape, dtype=np.int8), place[:, None]] for name in self.pair
        )
        return (first, second), (second, first)

    def _lost(self, rng, shape):
        return self._mean_lost * (1 + rng.standard_normal(shape).clip(-CLIP, CLIP) / CLIP)

    @property
    def _mean_lost(self):
        return CLIP * self.scatter / self._retention

    @property
    def _extra(self):
        """What share of its right answers the second method loses, so that it keeps ``gap`` points less."""
        return self.gap / (self._retention * (1 - self._mean_lost))

    @property
    def _retention(self):
        """Percent that the two methods keep when they share their answers."""
        kept = []
        for task in range(TASKS):
            weights = _weights(REAL["strata"][task])
            both = sum(REAL[name][task].mean(0) @ weights for name in self.pair) / 2
            kept.append(both / (REAL["dense"][task] @ weights))
        return 100 * np.mean(kept)


def _weights(categories):
    _, place, sizes = np.unique(categories, return_inverse=True, return_counts=True)
    return 1 / (len(sizes) * sizes[place])


def differences(drawn, seeds=None, groups=None):
    """The average difference and its spread, as ``atv.evaluation.scores.difference`` has them: (repetitions,).

    ``seeds`` and ``groups`` take the first so many.
    """
    parts = []
    for categories, dense, answers in drawn:
        own, weights = categories[:groups], _weights(categories[:groups])
        one, other = (kept_share(dense[:, :groups], each[:, :seeds, :groups], weights, own) for each in answers)
        parts.append(one - other)
    return mean_over(parts)
