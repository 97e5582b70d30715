"""Simulated answers of two pruned models, drawn from real answers, with a known difference.

``real_answers.npz`` has the bundled model's answers to the first 40 groups of each task of ``test``: dense, and pruned
to 60% (ATV and text only) and to 70% (ATV and Wanda), each calibrated on the 128 samples of three seeds. A group is
drawn with all of its answers, so its difficulty, what dense and pruned models share, and how answers change with the
seed are real. Categories keep their shares.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atv.evaluation.scores import kept_share
from atv.statistics.estimates import mean_over

REAL = dict(np.load(Path(__file__).parent / "real_answers.npz", allow_pickle=False))
# A seed's share of lost answers is clipped to this many standard deviations around its mean, so it is never below 0.
CLIP = 3
TASKS = len(REAL["tasks"])


@dataclass(frozen=True)
class World:
    """Two methods that truly keep the same, or of which the first keeps ``gap`` points more.

    So that they do not differ, each group's answers go to the two methods in random order. Seeds differ as the answers
    of the real seeds do and, in addition, by ``scatter`` (in points of average retention, the standard deviation of one
    seed of one method): a share of right answers is lost, normally distributed around its mean and equal in all tasks.
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
        """The real group at each place, (repetitions, groups), and the order of the two methods' answers."""
        own = [np.flatnonzero(REAL["strata"][task] == category) for category in categories]
        place = np.stack([rng.choice(among, repetitions) for among in own], axis=1)
        return place, rng.random((repetitions, 1, len(categories))) < 0.5

    def _answers(self, rng, task, place, seeds):
        """Both methods' answers, as they are and swapped; each seed's answer is that of one of the three real seeds."""
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
        """The share of its right answers that the second method loses in order to keep ``gap`` points less."""
        return self.gap / (self._retention * (1 - self._mean_lost))

    @property
    def _retention(self):
        """Retention in % of the two methods when their answers are mixed."""
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
    """The average difference and its spread, as in ``atv.evaluation.scores.difference``: (repetitions,).

    ``seeds`` and ``groups`` limit both to the first ones.
    """
    parts = []
    for categories, dense, answers in drawn:
        own, weights = categories[:groups], _weights(categories[:groups])
        one, other = (kept_share(dense[:, :groups], each[:, :seeds, :groups], weights, own) for each in answers)
        parts.append(one - other)
    return mean_over(parts)
