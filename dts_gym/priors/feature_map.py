"""From items' features to mixing weights: a one, then the features standardised as those of past items were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dts_gym.utils.arrays import Array
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import LARGEST, finite_array, nonnegative


@dataclass(frozen=True, eq=False, repr=False)
class FeatureMap(Shown):
    """How features become mixing weights: ``b = (1, (z - means) / deviations)``.

    Parameters
    ----------
    means : (p,) means of the features over past items, in the features' units.
    deviations : (p,) their standard deviations, in the same units. A feature whose deviation is 0 was the same for
        every past item, so nothing is known about what it does: its weight is 0 whatever its value.

    Examples
    --------
    >>> FeatureMap([1.0, 5.0], [2.0, 0.0]).weights([[3.0, 7.0]])
    array([[1., 1., 0.]])
    """

    means: Array
    deviations: Array

    def __post_init__(self) -> None:
        means = finite_array("means", self.means, (None,), LARGEST)
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "deviations", nonnegative("deviations", self.deviations, len(means), LARGEST))

    @classmethod
    def of(cls, item_features: Array) -> FeatureMap:
        """The map of past items' features (N, p), with N >= 1."""
        z = finite_array("item_features", item_features, (None, None), LARGEST, copy=False)
        constant = np.ptp(z, axis=0) <= 1e-12 * np.abs(z).max(axis=0)
        return cls(z.mean(axis=0), np.where(constant, 0.0, z.std(axis=0)))

    def weights(self, item_features: Array) -> Array:
        """Mixing weights (n, p + 1) of items with features (n, p)."""
        z = finite_array("item_features", item_features, (None, len(self.means)), LARGEST, copy=False)
        known = self.deviations > 0
        weights = np.zeros((len(z), 1 + len(known)))
        weights[:, 0] = 1.0
        weights[:, 1:][:, known] = (z[:, known] - self.means[known]) / self.deviations[known]
        return weights
