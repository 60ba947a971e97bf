"""What the estimators need of a log and a policy, round by round: gathered in one pass over blocks of rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dts_gym.offpolicy.log import BanditLog
from dts_gym.offpolicy.policies import checked_policy, probability_blocks
from dts_gym.offpolicy.reward_fits import RewardFit, sampled_rows
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import as_float64, finite_array


class Folds(NamedTuple):
    """Models for cross-fitting: round i is predicted by ``fits[of[i]]``, which has not seen it."""

    of: IntArray  # (n,)
    fits: Sequence[RewardFit]


class Terms(NamedTuple):
    """Arrays over n rounds.

    Attributes
    ----------
    played : (n,) the policy's probability of the logged action.
    values : model's name -> (n,) ``sum_a pi(a|x_i) q(x_i, a)``, with q the model's mean rewards.
    predicted : model's name -> (n,) ``q(x_i, a_i)`` of the logged action.
    directions : (K, d), or (1, d) of a shared parameter: ``mean_i pi(a|x_i) x_i``.
    sample : contexts and probabilities of some of the rounds, see `dts_gym.offpolicy.reward_fits.sampled_rows`.
    group_weight : (n,) ratio of the probabilities, under the policy and in the log, that an action with the features of
        the logged one is played; None unless asked for.
    unsupported : mean probability that the policy gives to actions that the log could not have played; NaN where the
        propensities of every action are not known.
    weight_error : standard error that the mean weight has if propensities are right; NaN where those of every action
        are not known.
    """

    played: Array
    values: dict[str, Array]
    predicted: dict[str, Array]
    directions: Array
    sample: tuple[Array, Array]
    group_weight: Array | None
    unsupported: float
    weight_error: float


def gather(
    log: BanditLog, policy: Any, models: Mapping[str, RewardFit | Folds], groups: IntArray | None = None
) -> Terms:
    """One pass over the rounds: O(n K d) a model, and memory for n numbers and a block.

    Parameters
    ----------
    log : rounds.
    policy : see `checked_policy`.
    models : fitted models by name; of `Folds`, the model that has not seen the round predicts it.
    groups : (K,) number of each action's group of equal features, for ``group_weight``.
    """
    n, checked = len(log), checked_policy(policy, log)
    played = np.empty(n)
    values, predicted = ({name: np.empty(n) for name in models} for _ in range(2))
    directions = np.zeros((1 if log.features == "shared" else log.num_actions, log.dim))
    kept = sampled_rows(n)
    sample = np.empty((len(kept), log.num_actions))
    weight = None if groups is None else np.empty(n)
    full = log.propensities is not None and log.propensities.ndim == 2
    unsupported, variance = (0.0, 0.0) if full else (np.nan, np.nan)
    for block, p in probability_blocks(checked, log):
        x, a = log.contexts[block], log.actions[block]
        rows = np.arange(len(a))
        played[block] = p[rows, a]
        directions += np.einsum("nk,nkd->d", p, x)[None] if log.features == "shared" else p.T @ x
        for name, model in models.items():
            q = _predicted(model, x, block)
            values[name][block], predicted[name][block] = np.einsum("nk,nk->n", p, q), q[rows, a]
        first, last = np.searchsorted(kept, [block.start, block.stop])
        sample[first:last] = p[kept[first:last] - block.start]
        if full:
            assert log.propensities is not None
            can, logged = log.propensities[block] > 0, log.propensities[block]
            supported = np.where(can, p, 0.0).sum(axis=1)
            unsupported += float((p.sum(axis=1) - supported).sum())
            squares = np.divide(p * p, logged, out=np.zeros_like(p), where=can)
            variance += float(np.maximum(squares.sum(axis=1) - supported**2, 0.0).sum())
        if weight is not None and groups is not None:
            assert log.propensities is not None
            same = groups[None, :] == groups[a][:, None]  # (b, K)
            weight[block] = np.where(same, p, 0.0).sum(axis=1) / np.where(same, log.propensities[block], 0.0).sum(
                axis=1
            )
    return Terms(
        played,
        values,
        predicted,
        directions / n,
        (log.contexts[kept], sample),
        weight,
        float(unsupported / n),
        float(np.sqrt(variance) / n),
    )


def _predicted(model: RewardFit | Folds, contexts: Array, block: slice) -> Array:
    """Mean rewards of every action, (b, K)."""
    if isinstance(model, RewardFit):
        return model.mean_rewards(contexts)
    out: Array | None = None
    of = model.of[block]
    for k, fit in enumerate(model.fits):
        rows = np.flatnonzero(of == k)
        if rows.size:
            q = fit.mean_rewards(contexts[rows])
            out = np.empty((len(of), q.shape[1])) if out is None else out
            out[rows] = q
    assert out is not None
    return out


def action_groups(log: BanditLog, action_features: Any) -> IntArray:
    """(K,) numbers of the groups of actions with equal features, for MIPS; ValueError where they are not known."""
    given = log.action_features if action_features is None else action_features
    if given is None:
        raise ValueError("action_features must be given for MIPS, (K, q) features or (K,) groups: the log has none")
    array = as_float64("action_features", given)
    array = finite_array("action_features", array, (log.num_actions,) if array.ndim == 1 else (log.num_actions, None))
    return np.asarray(np.unique(array.reshape(len(array), -1), axis=0, return_inverse=True)[1].ravel(), dtype=np.int64)
