"""How an action is picked from the moments of scores: by a draw, by the largest bound, by the largest mean.

Played actions have a score each. Unplayed actions are exchangeable: they have one distribution, and which of them is
picked is drawn at the end. A posterior whose unplayed actions are not independent normal given what is shared
draws the best one's score, ``top``, itself, and leaves the rest to `best`.

Of tied actions, played or not, one is picked at random, by a draw, a bound or a mean. A mean without a source
of randomness picks the lowest-numbered: then play is a function of the data. Where nothing is tied, nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import ndtri_exp

from dts_gym.posteriors.unplayed import AllowedActions, UnplayedActions, allowed_scores
from dts_gym.utils.arrays import Array, BoolArray, IntArray


class Played(Protocol):
    """The part of a table of played actions that choices read."""

    @property
    def actions(self) -> IntArray:
        """(P,) numbers of the played actions, in the order of the rows."""

    @property
    def slots(self) -> Container[int]:
        """The same numbers, to look one up."""


class ScoreMoments(NamedTuple):
    """Mean and variance of the actions' scores ``x' theta_a``, for one context or n.

    Attributes
    ----------
    mean, variance : (P,) or (P, n) moments of the played actions.
    mean0, variance0 : () or (n,) moments of every unplayed action.
    """

    mean: Array
    variance: Array
    mean0: Array
    variance0: Array


class Scored(Protocol):
    """The part of a table that scores are computed from; see `ActionTable` for its methods' shapes."""

    reached: Array

    def turned(self, x: Array) -> Array:
        """Contexts in the table's coordinates."""

    def weighed(self, u: Array) -> Array:
        """``u' beta`` of every row."""

    def forms(self, u: Array, m: Array | None) -> tuple[Array | None, Array]:
        """``u' T m`` (None without ``m``) and ``u' T u`` of every row."""


def score_moments(table: Scored, x: Array, m: Array | None) -> ScoreMoments:
    """Mean and variance of ``x' theta_a`` given the shared part ``m``, less ``x' m0``, which all actions share.

    ``x`` and ``m``, in the table's coordinates, are (d,) or (n, d); (R, d) for the tables of R runs.
    """
    x = table.turned(x)
    u = x * table.reached
    variance0 = np.asarray((u * u).sum(axis=-1))
    mean = table.weighed(u)
    mean0 = np.zeros_like(variance0)
    along, variance = table.forms(u, m)
    if m is not None and along is not None:
        mean += along
        mean += ((x - u) * m).sum(axis=-1)
        mean0 = np.asarray((x * m).sum(axis=-1))
    np.maximum(variance, 0.0, out=variance)
    return ScoreMoments(mean, variance, mean0, variance0)


class Candidates(NamedTuple):
    """The actions among which one is picked.

    Attributes
    ----------
    actions : (P,) numbers of the played actions.
    slots : the same numbers, to look one up.
    banned : rows of the played actions that a mask does not allow.
    unplayed : the unplayed actions that may be picked.
    """

    actions: IntArray
    slots: Container[int]
    banned: IntArray
    unplayed: UnplayedActions | AllowedActions


def candidates(played: Played, unplayed: UnplayedActions, mask: BoolArray | None) -> Candidates:
    """The actions that a mask (K,) allows; None allows all, at no cost in K."""
    actions = played.actions
    if mask is None:
        return Candidates(actions, played.slots, np.empty(0, dtype=np.int64), unplayed)
    return Candidates(actions, played.slots, np.flatnonzero(~mask[actions]), AllowedActions(mask, actions))


def thompson(among: Candidates, scores: ScoreMoments, rng: np.random.Generator, scale: float) -> IntArray:
    """The best action of one draw of independent normal scores, their deviations times ``scale``: () or (n,).

    Overwrites the moments of the played actions.
    """
    drawn = spread_draws(rng.standard_normal(scores.mean.shape), scores, scale)
    return best(among, drawn, best_unplayed(among, scores.mean0, scale * np.sqrt(scores.variance0), rng), rng)


def spread_draws(noise: Array, scores: ScoreMoments, scale: Array | float) -> Array:
    """Draws of the played actions' scores from standard normal ``noise``, which is overwritten as the variances are."""
    noise *= np.sqrt(scores.variance, out=scores.variance)
    if np.ndim(scale) or scale != 1.0:
        noise *= scale
    noise += scores.mean
    return noise


def upper_confidence(among: Candidates, scores: ScoreMoments, rng: np.random.Generator, scale: float) -> IntArray:
    """The action of the largest mean plus ``scale`` deviations, for one context; of tied actions one at random."""
    bounds, top = upper_bounds(scores, scale)
    return largest_bound(among, bounds, float(top), rng)


def upper_bounds(scores: ScoreMoments, scale: Array | float) -> tuple[Array, Array]:
    """Means plus ``scale`` deviations, of the played actions and of every unplayed one."""
    return scores.mean + scale * np.sqrt(scores.variance), scores.mean0 + scale * np.sqrt(scores.variance0)


def largest_bound(among: Candidates, bounds: Array, top: float, rng: np.random.Generator) -> IntArray:
    """The action of the largest bound, for one context; of tied actions one at random.

    ``bounds`` (P,) are those of the played actions, banned rows are overwritten; ``top`` is every unplayed action's.
    """
    bounds[among.banned] = -np.inf
    return _one_of_largest(among, bounds, top if len(among.unplayed) else -np.inf, rng)


def greedy(among: Candidates, mean: Array, mean0: Array, rng: np.random.Generator | None = None) -> IntArray:
    """The action of the largest mean, for one context or n; of tied actions the lowest-numbered.

    ``mean`` is (P,) or (P, n), banned rows are overwritten; ``mean0``, () or (n,), is every unplayed action's. With
    ``rng`` one of tied actions at random.
    """
    mean[among.banned] = -np.inf
    if rng is not None:
        top = mean0 if len(among.unplayed) else np.full(mean0.shape, -np.inf)
        if mean.ndim == 1:
            return _one_of_largest(among, mean, float(top), rng)
        return np.array([_one_of_largest(among, *of, rng) for of in zip(mean.T, top, strict=True)], dtype=np.int64)
    reached = mean.max(axis=0, initial=-np.inf)
    numbers = among.actions.reshape(-1, *[1] * reached.ndim)  # (P,) or (P, 1)
    none = np.iinfo(np.int64).max
    chosen = np.where(mean == reached, numbers, none).min(axis=0, initial=none)
    if len(among.unplayed):
        lowest = among.unplayed.lowest(among.slots)
        chosen = np.where(mean0 == reached, np.minimum(chosen, lowest), np.where(mean0 > reached, lowest, chosen))
    return np.asarray(chosen)


def largest_of_normals(mean: Array, std: Array | float, counts: IntArray | int, rng: np.random.Generator) -> Array:
    """A draw of the largest of ``counts`` independent normal numbers, of each mean and standard deviation. Exact."""
    return maximum_quantile(mean, std, counts, rng.standard_exponential(mean.shape))


def maximum_quantile(mean: Array, std: Array | float, counts: IntArray | int, exponential: Array) -> Array:
    """The quantile of the largest of ``counts`` normal numbers whose level has the logarithm ``-exponential``.

    That is a draw of the largest where ``exponential`` is one of the exponential distribution, ``-log U``: the quantile
    of ``U^(1 / count)``, with U uniform.
    """
    return np.asarray(mean + std * ndtri_exp(exponential / -np.asarray(counts)))


def best_unplayed(among: Candidates, mean: Array, std: Array, rng: np.random.Generator) -> Array:
    """A draw of the largest score of the unplayed actions, independent and normal; minus infinity if none is left."""
    if not len(among.unplayed):
        return np.full(mean.shape, -np.inf)
    return largest_of_normals(mean, std, len(among.unplayed), rng)


def copies_of_draws(num_actions: int, num_draws: int) -> IntArray:
    """Number of actions that each of fewer draws represents, (num_draws,), as equal as possible."""
    return np.full(num_draws, num_actions // num_draws) + (np.arange(num_draws) < num_actions % num_draws)


def best(among: Candidates, scores: Array, top: Array, rng: np.random.Generator) -> IntArray:
    """The action of the largest score, for one context or n; of tied actions one at random.

    Parameters
    ----------
    among : the actions that may be picked.
    scores : (P,) or (P, n) scores of the played actions; banned rows are overwritten.
    top : () or (n,), the largest score of the unplayed actions, minus infinity where there is none.
    rng : source of the unplayed action that is picked where ``top`` is the largest.

    Returns
    -------
    () or (n,)
    """
    scores[among.banned] = -np.inf
    if len(scores):
        row = scores.argmax(axis=0)
        actions = np.asarray(among.actions[row])
        reached = scores[row] if scores.ndim == 1 else scores[row, np.arange(scores.shape[1])]
        beaten = np.asarray(top > reached)
        if np.count_nonzero(scores == reached) > reached.size or np.count_nonzero(top == reached):  # tied
            tied = np.flatnonzero(((scores == reached).sum(axis=0) + (top == reached) > 1) & ~beaten)
            actions, each = np.atleast_1d(actions), (scores[:, None] if scores.ndim == 1 else scores).T
            for i in tied.tolist():
                actions[i] = _one_of_largest(among, each[i], float(top.reshape(-1)[i]), rng)
            actions = actions.reshape(top.shape)
        if not beaten.any():
            return actions
    else:
        actions, beaten = np.zeros(top.shape, dtype=np.int64), np.ones(top.shape, dtype=bool)
    if not beaten.ndim:
        return np.asarray(among.unplayed.draw_one(rng))
    actions[beaten] = among.unplayed.draw(rng, int(np.count_nonzero(beaten)))
    return actions


def _one_of_largest(among: Candidates, scores: Array, top: float, rng: np.random.Generator) -> IntArray:
    """The action of the largest score (P,), or an unplayed one where ``top`` is larger; of tied actions any."""
    reached = float(scores.max(initial=-np.inf))
    return one_of(among, np.flatnonzero(scores == max(reached, top)), top >= reached, rng)


def one_of_contenders(
    among: Candidates, reached: Array, rows: IntArray, slots: IntArray, top: Array, rng: np.random.Generator
) -> IntArray:
    """Actions (n,) of the largest scores of n contexts, of tied actions any.

    Parameters
    ----------
    among : the actions that may be picked.
    reached : (n,) the largest score of the played actions.
    rows, slots : the pairs of a context and a played action's row that have it, sorted by context.
    top : (n,) score of every unplayed action.
    rng : source of the picks.
    """
    ends = np.searchsorted(rows, np.arange(len(reached) + 1))
    chosen = np.empty(len(reached), dtype=np.int64)
    for i in range(len(reached)):
        tied = slots[ends[i] : ends[i + 1]] if reached[i] >= top[i] else slots[:0]
        chosen[i] = one_of(among, tied, bool(top[i] >= reached[i]), rng)
    return chosen


def tied_best(scores: Array, mask: BoolArray | None) -> BoolArray:
    """Which of the allowed scores (..., K) are the largest; what only rounding parts is tied."""
    rounding = 1e-12 * np.abs(scores).max(axis=-1, keepdims=True)
    allowed = allowed_scores(scores, mask)
    return np.asarray(allowed >= allowed.max(axis=-1, keepdims=True) - rounding)


def any_of(tied: BoolArray) -> Array:
    """Probabilities (K,) of a pick among tied actions (K,), each as likely."""
    return tied / np.count_nonzero(tied)


def any_of_best(scores: Array, mask: BoolArray | None, rng: np.random.Generator | None) -> IntArray:
    """The allowed action of the largest score (K,) of all actions, or of each of n rows (n, K): () or (n,).

    Of tied actions one at random, or the lowest-numbered without ``rng``.
    """
    tied = tied_best(scores, mask)
    if rng is None:
        return np.asarray(tied.argmax(axis=-1))
    if scores.ndim > 1:
        return np.array([any_of_best(row, mask, rng) for row in scores], dtype=np.int64)
    return one_of_tied(tied, rng)


def one_of_tied(tied: BoolArray, rng: np.random.Generator) -> IntArray:
    """One of tied actions (K,) at random."""
    rows = np.flatnonzero(tied)
    return np.asarray(rows[rng.integers(len(rows))])


def one_of(among: Candidates, rows: IntArray, with_unplayed: bool, rng: np.random.Generator) -> IntArray:
    """One of tied actions at random: some rows of the played ones and, if these are tied too, all unplayed ones."""
    index = int(rng.integers(len(rows) + (len(among.unplayed) if with_unplayed else 0)))
    return np.asarray(among.actions[rows[index]] if index < len(rows) else among.unplayed.draw_one(rng))
