"""The several best actions of one posterior draw, or by scores of all actions, in order."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri_exp

from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.careful_posterior import CarefulPosterior
from dts_gym.posteriors.choices import Candidates, candidates
from dts_gym.posteriors.marginals import NormalLaws
from dts_gym.posteriors.mixed_effects.choices import MixedEffectChoices
from dts_gym.posteriors.unplayed import allowed_scores
from dts_gym.utils.arrays import Array, BoolArray, IntArray


def ranked_draw(
    posterior: Any, context: Array, rng: np.random.Generator, scale: float, mask: BoolArray | None, size: int
) -> IntArray:
    """The ``size`` best allowed actions of one posterior draw of all parameters, best first, for one context.

    Exact wherever `thompson` is. Where unplayed actions are exchangeable, only the best of them are drawn: their
    scores' levels are those of the largest of U uniform numbers, one below the other. Else all K actions are drawn.
    """
    if isinstance(posterior, MixedEffectChoices):
        return best_of_all(posterior.score_draws(context, rng, scale, 1)[0], mask, size, rng)
    if not isinstance(posterior, ActionPosterior):
        theta = posterior.sample_parameters(rng, scale)
        return best_of_all(context @ theta if theta.ndim == 1 else theta @ context, mask, size, rng)
    among = candidates(posterior.table, posterior.unplayed, mask)
    if isinstance(posterior, CarefulPosterior) and posterior.is_careful:
        row = posterior._scores(context)
        means = row.mean + scale * (row.root @ rng.standard_normal(row.root.shape[1]))
        mean, std, mean0, std0 = means[:-1], row.std[:-1], means[-1], row.std[-1]
    else:
        x = posterior._in_range(context)
        scores = posterior._score_moments(x, posterior._draw_shared((), rng, scale))
        mean, std, mean0, std0 = scores.mean, np.sqrt(scores.variance), scores.mean0, np.sqrt(scores.variance0)
    drawn = mean + scale * std * rng.standard_normal(len(mean))
    count = min(size, len(among.unplayed))
    left = len(among.unplayed) - np.arange(count)
    tops = mean0 + scale * std0 * ndtri_exp(-(rng.standard_exponential(count) / left).cumsum())
    return merged(among, drawn, tops, size, rng)


def ranked_means(
    posterior: Any, context: Array, rng: np.random.Generator | None, mask: BoolArray | None, size: int
) -> IntArray:
    """The ``size`` allowed actions of the largest posterior means, largest first; ties as in `best_of_all`. O(K)."""
    return best_of_all(posterior.laws(context[None], 1.0).of_all(NormalLaws.mean)[0], mask, size, rng)


def best_of_all(scores: Array, mask: BoolArray | None, size: int, rng: np.random.Generator | None) -> IntArray:
    """The ``size`` allowed actions of the largest scores (K,), largest first.

    Of tied ones any come first, or without ``rng`` the lowest-numbered.

    Examples
    --------
    >>> best_of_all(np.array([1.0, 3.0, 2.0, 3.0]), np.array([True, True, True, False]), 2, None)
    array([1, 2])
    """
    allowed = allowed_scores(scores, mask)
    numbers = np.arange(len(scores)) if rng is None else rng.permutation(len(scores))
    return np.asarray(numbers[np.argsort(-allowed[numbers], kind="stable")[:size]])


def merged(among: Candidates, scores: Array, tops: Array, size: int, rng: np.random.Generator) -> IntArray:
    """The best ``size`` of played actions with scores (P,), and of unplayed ones whose best scores are ``tops``."""
    scores[among.banned] = -np.inf
    rows = np.argsort(-scores, kind="stable")[:size]
    every = np.concatenate([scores[rows], tops])
    chosen = np.concatenate([among.actions[rows], among.unplayed.draw_distinct(rng, len(tops))])
    return np.asarray(chosen[np.argsort(-every, kind="stable")[:size]])
