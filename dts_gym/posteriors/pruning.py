"""Finds the best of many actions exactly, without reading most of them."""

from __future__ import annotations

import numpy as np

from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.choices import Candidates, ScoreMoments
from dts_gym.posteriors.reference import Near
from dts_gym.utils.arrays import Array, IntArray

# Contenders are scored this many at a time, so that their gathered rows stay in a core's cache.
_GATHERED = 1 << 10
# Where more contenders of a context than these are left, these are scored first.
_FIRST = 32
# Numbers of a part of a batch's bounds: 1 MB.
_AT_ONCE = 1 << 17
# Above this many played actions bounds are screened before the shared part's variance is added.
_SCREENED_FROM = 256
# Bounds have a margin of this relative size, times d: a tie must not be lost to rounding.
ROUNDING = {"float64": 1e-12, "float32": 1e-6}


def contenders(
    table: ActionTable,
    u: Array,
    norms: Array,
    noise: Array | float,
    scale: float,
    floor: Array,
    banned: IntArray,
    m: Array | None,
    near: Near,
    root: Array | None = None,
) -> tuple[Array, IntArray, IntArray]:
    """The best of ``mean + scale std noise`` over the played actions.

    Exact, without reading most of the matrices: ``std^2 = u' T u`` is at most ``u'u``, and the mean is within
    ``|u| |m - at|`` of that at a fixed value ``at`` of the shared part, see `Reference`. So a score is at most
    ``mean_at + |u| max(scale noise + |m - at|, 0)``. Only actions whose bound reaches the score of the best bound's
    action, or ``floor``, are scored. With a root ``R`` of the shared part's covariance ``std^2`` has ``|R' T u|^2`` in
    it too, which is at most ``u' T u`` times the norm of that covariance.

    Parameters
    ----------
    table : table of the played actions.
    u : (n, d) contexts in the table's coordinates, restricted to the directions of the actions' own noise.
    norms : (n,) lengths ``|u|``.
    noise : (n, P) noise, or a number for all.
    floor : (n,) scores that other actions have already.
    banned : rows of the table that may not be picked; one or more others, or a floor, must be left.
    m : (n, d) the shared part, where ``S`` reaches all; None where nothing is shared.
    near : the means at a fixed value of the shared part; without anything shared, the table's ``beta``.
    root : (d, r) root of the shared part's covariance, where deviations are to have it in them; the noise is positive.

    Returns
    -------
    (n,), (t,), (t,)
        The best scores (``-inf`` where ``floor`` beats every bound); the contexts and the table's rows that reach
        them, sorted by context.
    """
    P = len(table)
    size = max(1, _AT_ONCE // max(1, P))
    if len(u) > size:  # the bounds of a part fit into a core's cache
        found = []
        for start in range(0, len(u), size):
            of = slice(start, start + size)
            part, shared = noise[of] if isinstance(noise, np.ndarray) else noise, None if m is None else m[of]
            best, rows, slots = contenders(table, u[of], norms[of], part, scale, floor[of], banned, shared, near, root)
            found.append((best, rows + start, slots))
        best, rows, slots = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return best, rows, slots
    away = np.zeros(len(u)) if m is None else np.linalg.norm(m - near.at, axis=1)
    least = u @ near.centers.T  # (n, P), the bounds where the noise is low
    least[:, banned] = -np.inf
    widest = 1.0 if root is None else widest_factor(root)
    bounds = least + noise * (scale * widest * norms)[:, None]  # less what is far
    far = norms * away
    quadratic = np.ascontiguousarray(table.quadratic_query(u).T)  # (n, packed)
    bilinear = None if m is None else np.ascontiguousarray(table.bilinear_query(u, m).T)
    trifle = ROUNDING[table.dtype] * table.dim

    def moments(rows: IntArray, slots: IntArray) -> tuple[Array, Array]:
        T = table.cov[slots]
        std = np.sqrt(np.einsum("ij,ij->i", T, quadratic[rows]).clip(0.0))
        mean = np.einsum("ij,ij->i", table.beta[slots], u[rows])
        if bilinear is not None:
            mean += np.einsum("ij,ij->i", T, bilinear[rows])
        return mean, scale * std * (noise[rows, slots] if isinstance(noise, np.ndarray) else noise)

    every = np.arange(len(u))

    def below(scores: Array, rows: IntArray) -> Array:
        return np.asarray(scores - trifle * ((scale * widest + away[rows]) * norms[rows] + np.abs(scores)))

    lower = below(np.maximum(np.add(*moments(every, bounds.argmax(axis=1))), floor), every)
    near_best = bounds >= (lower - far)[:, None]
    if (least.max(axis=1) >= lower).any():
        near_best |= least >= lower[:, None]
    pairs = np.flatnonzero(near_best)
    if pairs.size > _FIRST * len(u):  # the nearest to the best show of most others that they are not
        highest = bounds.reshape(-1)[pairs]
        first = np.argpartition(lower[pairs // P] - highest, _FIRST * len(u))[: _FIRST * len(u)]
        rows, slots = np.divmod(pairs[first], P)
        np.maximum.at(lower, rows, below(np.add(*moments(rows, slots)), rows))
        pairs = pairs[np.maximum(highest + far[pairs // P], least.reshape(-1)[pairs]) >= lower[pairs // P]]
    if 4 * pairs.size > bounds.size:
        spreads = np.sqrt((quadratic.astype(table.dtype, copy=False) @ table.cov.T).clip(0.0)) * scale * noise
        means = u @ table.beta.T
        if bilinear is not None:
            means += bilinear.astype(table.dtype, copy=False) @ table.cov.T
        means[:, banned] = -np.inf
        lower = below((means + spreads).max(axis=1), every)
        rows, slots = np.nonzero(means + widest * spreads >= lower[:, None])
        mean, spread = means[rows, slots], spreads[rows, slots]
    else:
        rows, slots = np.divmod(pairs, P)
        parts = [slice(i, i + _GATHERED) for i in range(0, pairs.size, _GATHERED)]
        gathered = [moments(rows[part], slots[part]) for part in parts] or [(np.empty(0), np.empty(0))]
        mean, spread = (np.concatenate(of) for of in zip(*gathered, strict=True))
    if root is not None and root.size:
        own = np.full(len(u), -np.inf)
        np.maximum.at(own, rows, mean + spread)
        kept = mean + widest * spread >= np.maximum(lower, below(own, every))[rows]
        rows, slots, mean, spread = rows[kept], slots[kept], mean[kept], spread[kept]
        along = variance_along(np.matvec(table.unpack(table.cov[slots]), u[rows]), root)
        spread = np.sqrt(spread**2 + scale**2 * along)
    scores = mean + spread
    best = np.full(len(u), -np.inf)
    np.maximum.at(best, rows, scores)
    reached = scores == best[rows]
    return best, rows[reached], slots[reached]


def responses(table: ActionTable, context: Array) -> Array:
    """Derivative of ``x' theta_a`` in the shared part, (P + 1, d) in the table's coordinates; last row: any other."""
    x = context @ table.basis
    u = x * table.reached
    return np.vstack([x - u + table.products(u), x])


def variance_along(followed: Array, root: Array) -> Array:
    """Variance of scores by the shared part, (..., P), from their derivatives in it (..., P, d), and its root."""
    reach = followed @ root
    return np.asarray((reach * reach).sum(axis=-1))


def widest_factor(root: Array) -> float:
    """By how much the shared part widens a score's deviation at most, where an action's own noise reaches all.

    A score follows the shared part by ``T u``, and ``|T u|^2 <= u'Tu``: so the shared variance is at most the own one
    times the norm of the shared covariance, of which this is the factor ``(1 + norm)^1/2``.

    Parameters
    ----------
    root : (d, r) root of the shared part's covariance, in the table's coordinates.
    """
    products = root.T @ root
    return float(np.sqrt(1.0 + np.sqrt(np.vdot(products, products))))


def with_shared_variance(
    table: ActionTable, among: Candidates, scores: ScoreMoments, context: Array, root: Array, scale: float
) -> ScoreMoments:
    """Add the shared part's variance to score moments, except for actions whose bound cannot be the largest.

    These get a mean of minus infinity: see `widest_factor`.

    Parameters
    ----------
    table : table of the played actions.
    among : the actions that may be picked.
    scores : moments given the shared part's mean; overwritten.
    context : (d,) context.
    root : (d, r) root of the shared part's covariance, in the table's coordinates.
    scale : number of deviations in the bound.
    """
    x = context @ table.basis
    reach0 = x @ root
    variance0 = scores.variance0 + reach0 @ reach0
    mean, variance = scores.mean, scores.variance
    if table.reached.all() and len(mean) > _SCREENED_FROM:
        least = float(np.delete(mean + scale * np.sqrt(variance), among.banned).max(initial=-np.inf))
        if len(among.unplayed):
            least = max(least, float(scores.mean0 + scale * np.sqrt(variance0)))
        highest = mean + scale * widest_factor(root) * np.sqrt(variance)
        # The bound has a small margin: an exact tie must not be lost to rounding.
        rows = np.flatnonzero(highest >= least - 1e-9 * (abs(least) + scale * float(np.sqrt(variance0))))
        if 4 * len(rows) <= len(mean):
            kept = np.full_like(mean, -np.inf)
            kept[rows] = mean[rows]
            variance[rows] += variance_along(table.matrices(rows) @ x, root)
            return ScoreMoments(kept, variance, scores.mean0, variance0)
    followed = responses(table, context)[:-1]
    return ScoreMoments(mean, variance + variance_along(followed, root), scores.mean0, variance0)
