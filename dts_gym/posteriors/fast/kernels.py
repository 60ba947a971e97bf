"""An update and a choice of a linear chain, compiled by numba: the formulas of the NumPy code, without its overhead.

`learn_reward` is `ActionTable.observe` and `evidence.learn` in one; `score_actions` is `choices.score_moments`,
`choices.spread_draws` or `choices.upper_bounds`, and the search for the best. Results are those of the NumPy code to
rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np

from dts_gym.posteriors.action_table import KNOWN
from dts_gym.utils.arrays import Array, IntArray

P = ParamSpec("P")
R = TypeVar("R")


def _compiled(**options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function at its first call, for good: the result is kept on disk where numba finds a folder for it."""

    def compiled(function: Callable[P, R]) -> Callable[P, R]:
        made: Callable[P, R]
        try:
            made = numba.njit(cache=True, error_model="numpy", **options)(function)
        except RuntimeError:  # no folder can be written: then every process compiles
            made = numba.njit(error_model="numpy", **options)(function)
        return made

    return compiled


@_compiled()
def _add(total: Array, carry: Array, j: int, increment: float) -> None:
    """``total[j] += increment``, compensated as in `action_table`."""
    increment += carry[j]
    before = total[j]
    total[j] = before + increment
    carry[j] = (np.float64(before) - np.float64(total[j])) + increment


@_compiled()
def learn_reward(
    slot: int,
    context: Array,
    reward: float,
    variance: float,
    limit: float,
    columns: tuple[Array, ...],
    constants: tuple[Array, ...],
    shared: tuple[Array, ...],
) -> float:
    """Condition on one reward.

    Parameters
    ----------
    slot, context, reward, variance : row of the action, (d,), and ``reward ~ N(context' theta, variance)``.
    limit : by how much rewards may outweigh a prior.
    columns : the table's "cov", "cov_carry", "beta", "beta_carry", "G" and "h".
    constants : `ActionTable.constants`.
    shared : mean and root of the shared part, its prior's root and the weight of what was learned of it.

    Returns
    -------
    float
        By how much the action's rewards outweigh its prior now; -1, with nothing changed, where something outweighs its
        prior by more than the limit.
    """
    cov, cov_carry, beta, beta_carry, G, h = columns
    basis, reached, kept, outweighs, center = constants
    mean, root, prior_root, total_weight = shared
    d, r = root.shape
    x, u, v, reach = np.zeros(d), np.empty(d), np.empty(d), np.zeros(r)
    target = reward
    for i in range(d):
        target -= context[i] * center[i]
        for j in range(d):
            x[j] += context[i] * basis[i, j]
    weight, j = 0.0, 0
    for a in range(d):
        for b in range(a, d):
            weight += (G[slot, j] + context[a] * (context[b] / variance)) * outweighs[j]
            j += 1
    if weight > limit:
        return -1.0
    for a in range(d):
        u[a] = x[a] * reached[a]
        v[a] = x[a] - u[a]
    j = 0
    for a in range(d):
        T = cov[slot, j] + cov_carry[slot, j]
        v[a] += T * u[a]
        j += 1
        for b in range(a + 1, d):
            T = cov[slot, j] + cov_carry[slot, j]
            v[a] += T * u[b]
            v[b] += T * u[a]
            j += 1
    spread, length, fitted = 0.0, 0.0, 0.0
    for a in range(d):
        spread += u[a] * v[a]
        length += u[a] * u[a]
        fitted += beta[slot, a] * u[a]
    if spread <= KNOWN * d * length:
        spread = 0.0
        for a in range(d):
            v[a] -= v[a] * reached[a]
    total, residual = variance + spread, target - fitted
    for a in range(d):
        for k in range(r):
            reach[k] += v[a] * prior_root[a, k]
    more = 0.0
    for k in range(r):
        more += reach[k] * reach[k]
    more /= total
    if total_weight[0] + more > limit:
        return -1.0
    # From here on everything changes.
    j = 0
    for a in range(d):
        for b in range(a, d):
            _add(cov[slot], cov_carry[slot], j, v[a] * kept[a] * (v[b] / -total))
            G[slot, j] += context[a] * (context[b] / variance)
            j += 1
        _add(beta[slot], beta_carry[slot], a, v[a] * (residual / total))
        h[slot, a] += context[a] / variance * target
    if r == 0:
        return weight
    total_weight[0] += more
    told, spread = 0.0, 0.0
    for k in range(r):
        reach[k] = 0.0
    for a in range(d):
        told += v[a] * mean[a]
        for k in range(r):
            reach[k] += v[a] * root[a, k]
    for k in range(r):
        spread += reach[k] * reach[k]
    all_of_it = total + spread
    share = 1.0 / (1.0 + np.sqrt(total / all_of_it))
    for a in range(d):
        gain = 0.0
        for k in range(r):
            gain += root[a, k] * reach[k]
        gain /= all_of_it
        mean[a] += gain * (residual - told)
        for k in range(r):
            root[a, k] -= gain * (reach[k] * share)
    return weight


@_compiled(fastmath={"reassoc", "contract", "nsz"})
def _dot(row: Array, query: Array) -> float:
    total = 0.0
    for j in range(len(query)):
        total += row[j] * query[j]
    return total


@_compiled(fastmath={"reassoc", "contract", "nsz"})
def _two_dots(row: Array, first: Array, second: Array) -> tuple[float, float]:
    one, other = 0.0, 0.0
    for j in range(len(first)):
        one += row[j] * first[j]
        other += row[j] * second[j]
    return one, other


@_compiled()
def center_rows(cov: Array, beta: Array, at: Array, slots: IntArray, centers: Array) -> None:
    """Set rows of ``centers`` to ``beta + T at``, see `dts_gym.posteriors.reference`."""
    d = len(at)
    for slot in slots:
        center, j = centers[slot], 0
        for a in range(d):
            center[a] = beta[slot, a]
        for a in range(d):
            center[a] += cov[slot, j] * at[a]
            j += 1
            for b in range(a + 1, d):
                center[a] += cov[slot, j] * at[b]
                center[b] += cov[slot, j] * at[a]
                j += 1


@_compiled()
def _variance_along(row: Array, x: Array, u: Array, root: Array) -> float:
    """What the shared part adds to a score's variance: ``|root' (x - u + T u)|^2``."""
    d, j, total = len(x), 0, 0.0
    followed = x - u
    for a in range(d):
        followed[a] += row[j] * u[a]
        j += 1
        for b in range(a + 1, d):
            followed[a] += row[j] * u[b]
            followed[b] += row[j] * u[a]
            j += 1
    for k in range(root.shape[1]):
        reach = 0.0
        for a in range(d):
            reach += followed[a] * root[a, k]
        total += reach * reach
    return total


@_compiled()
def score_actions(
    cov: Array,
    beta: Array,
    constants: tuple[Array, ...],
    context: Array,
    shared: tuple[Array, Array, Array],
    spread: Array,
    reference: tuple[Array, Array],
    margin: float,
    noise: Array,
    scale: float,
    level: float,
) -> tuple[int, float, bool]:
    """Scores of all actions for one context, by a draw of their parameters or by upper bounds, and the best of them.

    A score is the mean given the shared part plus ``scale`` times noise times the deviation.

    Parameters
    ----------
    cov, beta : the table's, (P, packed) and (P, d).
    constants : `ActionTable.constants`.
    context : (d,) context.
    shared : mean (d,), root (d, r) and ``z`` (r,) of the shared part ``m = mean + scale root z``; the mean has
        length 0 where nothing is shared.
    spread : (d, q) root of the shared part's covariance, where deviations are to have it in them; q = 0 for draws.
    reference : ``beta + T at`` of the played actions, (P, d), and ``at`` (d,); no rows where all are to be scored.
    margin : relative rounding of bounds.
    noise : (P,) standard normal numbers for a draw, ones for upper bounds, minus infinity for actions that may not be
        picked. The scores replace it; those of actions that cannot be best are minus infinity.
    scale : exploration scale.
    level : the best unplayed action's score, in deviations from its mean; minus infinity where there is none.

    Returns
    -------
    int, float, bool
        Row of the best played action, -1 where an unplayed one is better; the best unplayed action's score; and whether
        the best score is tied, so that the row is one of several.
    """
    basis, reached = constants[0], constants[1]
    m, z, is_shared = shared[0].copy(), shared[2], len(shared[0]) > 0
    d, P, packed, q = len(context), len(noise), cov.shape[1], spread.shape[1]
    for i in range(len(m)):
        for k in range(len(z)):
            m[i] += scale * (shared[1][i, k] * z[k])
    x, u = np.zeros(d), np.empty(d)
    for i in range(d):
        for j in range(d):
            x[j] += context[i] * basis[i, j]
    variance0, mean0, past = 0.0, 0.0, 0.0
    for j in range(d):
        u[j] = x[j] * reached[j]
        variance0 += u[j] * u[j]
    length = np.sqrt(variance0)
    quadratic, bilinear = np.empty(packed), np.zeros(packed)
    j = 0
    for a in range(d):
        for b in range(a, d):
            quadratic[j] = u[a] * u[b] * (1.0 if a == b else 2.0)
            j += 1
    if is_shared:
        j = 0
        for a in range(d):
            mean0 += x[a] * m[a]
            past += (x[a] - u[a]) * m[a]
            for b in range(a, d):
                bilinear[j] = u[a] * m[b] if a == b else u[a] * m[b] + u[b] * m[a]
                j += 1
    # What the shared part adds to a variance is at most the own one times its covariance's norm, as T is at most 1.
    widest = 1.0
    if q > 0:
        squares = 0.0
        for k in range(q):
            along = 0.0
            for a in range(d):
                along += x[a] * spread[a, k]
            variance0 += along * along
            for other in range(q):
                product = 0.0
                for a in range(d):
                    product += spread[a, k] * spread[a, other]
                squares += product * product
        widest = np.sqrt(1.0 + np.sqrt(squares)) if reached.min() > 0.0 else np.inf
    top = mean0 + scale * np.sqrt(variance0) * level if level > -np.inf else -np.inf

    # The mean is u'(beta + T at) + u'T (m - at), of which the second is at most |u| |m - at|, as T is at most 1.
    centers, at = reference
    is_pruned = len(centers) > 0
    bounds, least, away = np.empty(P if is_pruned else 0), top, 0.0
    if is_pruned:
        for j in range(len(at)):
            away += (m[j] - at[j]) ** 2
        away, first = np.sqrt(away), -1
        for i in range(P):
            bounds[i] = -np.inf
            if noise[i] > -np.inf:
                bounds[i] = past + _dot(centers[i], u) + length * max(scale * noise[i] * widest + away, 0.0)
                if first < 0 or bounds[i] > bounds[first]:
                    first = i
        if first >= 0:
            along, variance = _two_dots(cov[first], bilinear, quadratic)
            mean, variance = past + _dot(beta[first], u) + along, max(variance, 0.0)
            if q > 0:
                variance += _variance_along(cov[first], x, u, spread)
            least = max(top, mean + scale * noise[first] * np.sqrt(variance))
        least -= margin * (length * (scale * widest + away) + abs(least))
    best, row, is_tied = -np.inf, -1, False
    for i in range(P):
        if is_pruned and bounds[i] < least:
            noise[i] = -np.inf
            continue
        mean = past + _dot(beta[i], u)
        if is_shared:
            along, variance = _two_dots(cov[i], bilinear, quadratic)
            mean += along
        else:
            variance = _dot(cov[i], quadratic)
        variance = max(variance, 0.0)
        if q > 0:
            if widest < np.inf and mean + scale * noise[i] * widest * np.sqrt(variance) < best - margin * (
                length * scale * widest + abs(best)
            ):
                noise[i] = -np.inf
                continue
            variance += _variance_along(cov[i], x, u, spread)
        noise[i] = mean + scale * noise[i] * np.sqrt(variance)
        if noise[i] > best:
            best, row, is_tied = noise[i], i, False
            least = max(least, best - margin * (length * (scale * widest + away) + abs(best)))
        elif noise[i] == best and row >= 0:
            is_tied = True
    if top > best:
        return -1, top, False
    return row, top, is_tied or top == best
