"""The probability that each of many independent scores is the largest, by quadrature.

Given what actions share, their scores are independent: one of its own for each played action, and U of one
distribution for the unplayed ones. An action is picked where its score is the largest, so its probability is an
integral of its density times the others' distribution functions. Integrals between breakpoints, which follow every
score's own mean and deviation, are exact to some 1e-9 also where some scores are far narrower than others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri_exp

from dts_gym.posteriors.marginals import NormalLaws
from dts_gym.utils.arrays import Array, IntArray

# Breakpoints of a score, in deviations from its mean, and of the largest of U scores, minus the logarithms of levels.
_DEVIATIONS = np.array([-9.0, -5, -3, -2, -1, 0, 1, 2, 3, 5, 9])
_LEVELS = np.array([40.0, 20, 10, 5, 3, 2, 1, 0.5, 0.2, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-6, 1e-9, 1e-12])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)
_NOWHERE = -30.0  # logarithm of a probability that is not missed
_NEGLIGIBLE = 7.04  # number of deviations that a score exceeds with a probability of 1e-12
_MERGED = 1.0  # breakpoints closer than that, in the narrowest deviation there, are merged
_NARROWEST = 1e-13  # least deviation, relative to the largest number: a score that does not vary ties with its equals
_FINE = 1e-7  # largest error of the sum of all probabilities, above which intervals are halved
_HALVINGS = 3
_CLASS = 0.5  # deviations whose logarithms to base 2 differ by less are one class in merging
_BLOCK = 2_000_000  # number of values of distribution functions that are held at a time
_TOGETHER = 24  # number of nodes for which the scores that reach them are found
_FARTHEST = 9.0  # number of deviations beyond which a score is not
_LAST = 1e-10  # probability beyond the last point
_ROOT = 0.5 * np.log(2 * np.pi)


class Scores(NamedTuple):
    """Independent scores, each a mixture of C normal distributions.

    Attributes
    ----------
    log_weights, means, stds : (C, A) components of the scores.
    counts : (A,) number of scores of each distribution.
    """

    log_weights: Array
    means: Array
    stds: Array
    counts: Array

    def of(self, rows: IntArray) -> Scores:
        """Some of the distributions."""
        return Scores(*(part[..., rows] for part in self))

    def log_cdf(self, points: Array) -> Array:
        """Logarithm of the distribution functions, (A, N) at N points."""
        return self._mixed(_log_ndtr((points - self.means[..., None]) / self.stds[..., None]))

    def winning(self, points: Array) -> Array:
        """Density of one score, (A, N) at N points, times the probability that all others are below."""
        z = (points - self.means[..., None]) / self.stds[..., None]
        log_cdf = self._mixed(_log_ndtr(z))
        z *= z
        z *= -0.5
        z -= np.log(self.stds)[..., None] + _ROOT
        log_density = self._mixed(z)
        log_density -= log_cdf
        log_density += self.counts @ np.maximum(log_cdf, -1e300)
        return np.exp(log_density, out=log_density)

    def _mixed(self, each: Array) -> Array:
        """Logarithm of the weighted sum over the components of numbers whose logarithms are (C, A, N)."""
        return np.asarray(each[0] if len(each) == 1 else logsumexp(self.log_weights[..., None] + each, axis=0))

    def exceed(self, point: float) -> Array:
        """Probability (A,) that one score exceeds a point."""
        each = log_ndtr((self.means - point) / self.stds)
        return np.asarray(np.exp(each[0] if len(each) == 1 else logsumexp(self.log_weights + each, axis=0)))


def scores_of(own: NormalLaws, other: NormalLaws | None, row: int, banned: IntArray, num_unplayed: int) -> Scores:
    """The scores of one context that may be the largest.

    Parameters
    ----------
    own : distributions of the P played actions' scores, (C, n, P).
    other : that of any unplayed one, (C, n), or None.
    row : which of the n contexts, or draws of the shared part.
    banned : rows of the played actions that may not be picked; their scores are minus infinity.
    num_unplayed : U, number of unplayed actions that may be picked.

    Returns
    -------
    Scores
        Of P distributions, or of P + 1, the last with U scores.
    """
    parts = []
    for laws, count in ((own, own.means.shape[-1]), (other, 1)):
        if laws is None or not (num_unplayed or laws is own):
            continue
        size = max(len(part) for part in laws)
        each = [part[:, min(row, part.shape[1] - 1)] for part in laws]
        parts.append([np.broadcast_to(part.reshape(len(part), -1), (size, count)) for part in each])
    weights, means, variances = (np.concatenate(of, axis=1) for of in zip(*parts, strict=True))
    means[:, banned] = -np.inf
    counts = np.ones(means.shape[1])
    if num_unplayed:
        counts[-1] = num_unplayed
    with np.errstate(divide="ignore"):
        return Scores(np.log(weights), means, np.sqrt(variances.clip(0.0)), counts)


def win_probabilities(scores: Scores) -> tuple[Array, float]:
    """The probability that one score is the largest of all.

    Parameters
    ----------
    scores : the distributions; those of mean minus infinity are never the largest. Where scores are equal without
        any variance, each is as likely.

    Returns
    -------
    probabilities : (A,), of one score of each distribution. Scores that are the largest with a probability of less than
        1e-12 have a bound of it instead.
    error : float, distance of the sum over all scores from 1.

    Notes
    -----
    Exact to some 1e-9: six nodes of Gauss and Legendre in every interval, with all products as sums of logarithms.
    O(A) for the scores that cannot be the largest, O(B N) for B others and N nodes, some hundreds.

    Examples
    --------
    >>> two = Scores(np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.ones((1, 2)), np.ones(2))
    >>> win_probabilities(two)[0].round(6)  # that of a normal number above -1 / sqrt(2)
    array([0.76025, 0.23975])
    """
    probabilities = np.zeros(scores.means.shape[1])
    allowed = np.flatnonzero(np.isfinite(scores.means).all(axis=0))
    live = scores.of(allowed)
    means = live.means - live.means.max()
    stds = np.maximum(live.stds, _NARROWEST * max(live.stds.max(), np.abs(means).max()))
    if not stds.max():
        probabilities[allowed] = 1.0 / live.counts.sum()
        return probabilities, 0.0
    live = live._replace(means=means, stds=stds)
    low = _nothing_below(live)
    contenders = _above(live, low)
    points = _breakpoints(live.of(contenders), low)
    log_all = live.of(contenders).counts @ live.of(contenders).log_cdf(points)
    first = max(int(np.count_nonzero(log_all < _NOWHERE)) - 1, 0)
    last = np.count_nonzero(log_all < -_LAST) + 1
    low, points = float(points[first]), points[first:last]
    contenders = _above(live, low)
    each = live.exceed(low)
    found, error = _integrals(live.of(contenders), points)
    for _ in range(_HALVINGS):
        if error < _FINE:
            break
        points = np.sort(np.concatenate([points, (points[1:] + points[:-1]) / 2]))
        found, error = _integrals(live.of(contenders), points)
    each[contenders] = found
    probabilities[allowed] = each
    return probabilities, error


def _nothing_below(scores: Scores) -> float:
    """A point below which the largest score is with a probability of less than 1e-13."""
    levels = _NOWHERE / scores.counts
    return float((scores.means + scores.stds * ndtri_exp(np.minimum(levels, -1e-300))).min(axis=0).max())


def _above(scores: Scores, low: float) -> IntArray:
    """The scores that exceed a point with a probability that counts."""
    reach = np.maximum(_NEGLIGIBLE, -ndtri_exp(-27.7 - np.log(scores.counts)))
    return np.flatnonzero((scores.means + reach * scores.stds).max(axis=0) > low)


def _breakpoints(scores: Scores, low: float) -> Array:
    """Increasing points from ``low`` on, between which the integrands are smooth."""
    several = scores.counts > 1
    single = scores.of(np.flatnonzero(~several))
    points = [(single.means[..., None] + single.stds[..., None] * _DEVIATIONS).reshape(-1, len(_DEVIATIONS))]
    stds = [single.stds.ravel()]
    for row in np.flatnonzero(several):
        for c in range(len(scores.means)):
            count = max(scores.counts[row] * np.exp(scores.log_weights[c, row]), 1.0)
            levels = scores.means[c, row] + scores.stds[c, row] * ndtri_exp(-_LEVELS / count)
            points += [levels[:11][None], levels[-11:][None]]
            stds.append(np.full(2, scores.stds[c, row] / (1.0 + np.sqrt(2.0 * np.log(count)))))
    each, scale = np.concatenate(points), np.concatenate(stds)
    every = np.unique(np.append(each, low))
    every = every[every >= low]
    if len(every) < 3:
        return every
    narrowest = np.full(len(every) - 1, scale.max())
    classes = np.floor(np.log2(scale) / _CLASS)
    starts, ends = np.searchsorted(every, each.min(axis=1)), np.searchsorted(every, each.max(axis=1))
    for number in np.unique(classes)[::-1]:  # from wide to narrow
        of_class = classes == number
        covered = np.bincount(starts[of_class], minlength=len(every) + 1)
        covered = covered - np.bincount(ends[of_class], minlength=len(every) + 1)
        narrowest[covered.cumsum()[: len(narrowest)] > 0] = scale[of_class].min()
    place = np.append(0.0, (np.diff(every) / narrowest).cumsum())
    bins = np.floor(place / _MERGED)
    kept = np.append(True, np.diff(bins) > 0)
    kept[-1] = True
    return np.asarray(every[kept])


def _integrals(scores: Scores, points: Array) -> tuple[Array, float]:
    """Probabilities (B,) that one score is the largest, and the distance of the sum over all from 1."""
    half = np.diff(points) / 2
    nodes = ((points[:-1] + half)[:, None] + half[:, None] * _NODES).ravel()
    weights = (half[:, None] * _WEIGHTS).ravel()
    found = scores.exceed(points[-1])  # beyond the last point every other score is below
    ends = (scores.means + _FARTHEST * scores.stds).max(axis=0)
    size = min(_TOGETHER, max(1, _BLOCK // len(ends)))
    for start in range(0, len(nodes), size):
        part = nodes[start : start + size]
        rows = np.flatnonzero(ends > part[0])  # the others are below all of these nodes
        if len(rows):
            found[rows] += scores.of(rows).winning(part) @ weights[start : start + size]
    return found, abs(float(scores.counts @ found) - 1.0)


def _log_ndtr(z: Array) -> Array:
    """Logarithm of the normal distribution function, faster than SciPy's where few numbers are far below."""
    below = ndtr(z)
    far = np.flatnonzero(below < 1e-7)
    with np.errstate(divide="ignore"):
        out = np.log(below, out=below)
    out.ravel()[far] = log_ndtr(z.ravel()[far])
    return out
