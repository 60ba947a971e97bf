"""Normal distributions whose data outweigh the prior by more than float64 holds, in twofold precision.

A variance that data have shrunk by 1e16 is the difference of numbers that agree in all of float64's digits. Here a
distribution is kept as ``N(mean, V diag(scales) V')`` with ``V`` unit upper triangular: conditioning on an observation
multiplies and divides the scales, in which nothing cancels, and what cancels in ``V'x`` has 32 digits. A bound on the
rounding so far goes with every number, and a reading is refused where that bound is not small beside its deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.columns import Columns
from dts_gym.utils.twofold import EPS, Twofold

# Evidence up to this many times the prior's costs a float64 row some 1e-7 of a deviation; beyond, rows are kept here.
LIMIT = 2e9
_ENOUGH = 1e-6  # the largest relative error of a deviation, and error of a mean in deviations, that is returned
_UNIT = float(np.finfo(np.float64).eps)
# Operations of an update through which a number passes, and their largest rounding.
_ROUNDING = 8 * EPS


class Observation(NamedTuple):
    """Readings ``value ~ N(x' theta, variance)`` of k vectors, in twofold precision.

    Attributes
    ----------
    x : (k, d), float64 where it is exact.
    value, variance : (k,).
    x_error : () or (k,), the most that rounding may have changed ``x``, as a prior deviation of what it changes.
    value_error : () or (k,), the most that it may have changed ``value``.
    """

    x: Twofold | Array
    value: Twofold
    variance: Twofold
    x_error: Array | float = 0.0
    value_error: Array | float = 0.0


class Readings(NamedTuple):
    """What is known of ``q' theta`` for k queries, one a row.

    Attributes
    ----------
    mean : (k,).
    root : (k, d), the reading is ``mean + root z`` with ``z ~ N(0, I)``, the same for all queries of one row.
    mean_error, std_error : (k,) the most that rounding may have changed the mean and the deviation ``|root|``.
    """

    mean: Twofold
    root: Array
    mean_error: Array
    std_error: Array


class PreciseRows:
    """Normal distributions of vectors (d,), and how each vector's mean follows a shift of its prior's mean.

    Parameters
    ----------
    dim : d.
    shift_std : (d,) prior deviations of the shifts; zeros where nothing shifts.

    Notes
    -----
    Exact, to the bounds that are computed with each reading: a worst case, first order in the rounding of each
    operation, that grows with the number of observations. An observation costs O(d^2), in some 400 array operations.

    Source: Bierman, "Factorization Methods for Discrete Sequential Estimation" (1977), chapter V.
    """

    def __init__(self, dim: int, shift_std: Array | None = None) -> None:
        self.dim = dim
        self.shift_std = np.zeros(dim) if shift_std is None else shift_std
        self._square = dim * _ROUNDING**2
        # What an observation contracts, side by side: the mean, how it follows shifts, and sums of squares of what
        # rounding may have changed, those of the covariance's root (d, d) and of the mean (d, d).
        kinds = {"factor": (dim, dim), "scales": (dim,), "contracted": (dim, 1 + 3 * dim)}
        both = {f"{name}_{part}": (shape, np.float64) for name, shape in kinds.items() for part in ("high", "low")}
        self._columns = Columns(
            {
                **both,
                "moved": ((), np.float64),  # sum of squared innovations, in their deviations
                "count": ((), np.int64),
            }
        )

    def __len__(self) -> int:
        return len(self._columns)

    def _twofold(self, name: str, rows: IntArray | slice) -> Twofold:
        return Twofold(self._columns[f"{name}_high"][rows], self._columns[f"{name}_low"][rows])

    def _set(self, name: str, rows: IntArray, value: Twofold) -> None:
        self._columns[f"{name}_high"][rows], self._columns[f"{name}_low"][rows] = value.high, value.low

    def append(self, mean: Twofold, cov: Twofold, follow: Twofold, lost: Array | float = 0.0) -> int:
        """Add a row ``N(mean, cov)``, (d,) and (d, d), whose mean moves by ``follow`` (d, d) times a shift.

        ``lost`` () or (d,) is the square of what rounding has cost the covariance's root already. Returns the row's
        number.
        """
        row = len(self)
        self._columns.append()
        at = np.array([row])
        factor, scales = _factored(cov)
        self._set("factor", at, factor)
        self._set("scales", at, scales)
        errors = np.hstack(self._rounded(np.diagonal(cov.high) + lost / self._square, mean.high * mean.high))
        high = np.hstack([mean.high[:, None], follow.high, errors])
        self._set("contracted", at, Twofold(high, np.hstack([mean.low[:, None], follow.low, np.zeros(errors.shape)])))
        self._columns["count"][row] = 1
        return row

    def observe(self, rows: IntArray, seen: Observation) -> Observation:
        """Condition different rows on an observation each, all (k, ...).

        Returns
        -------
        Observation
            What each observation says of the shift of its row's prior mean: ``value ~ N(x' shift, variance)``.
        """
        x, value, noise, x_error, value_error = seen
        d, columns, size = self.dim, self._columns, np.abs(Twofold.of(x).high)
        V, scales, contracted = (self._twofold(name, rows) for name in ("factor", "scales", "contracted"))
        f = (V * x[:, :, None]).sum(-2)  # (k, d)
        g = scales * f
        grown = (f * g).cumsum() + noise[:, None]  # the observation's variance by the first 1, 2, ... entries
        before = _shifted(grown, noise)
        gains = (V * g[:, None, :]).cumsum()  # (k, d, d), column j: the gain by the first j + 1 entries
        turn = f / before
        V_after = V - turn[:, None, :] * _shifted(gains, Twofold(np.zeros(f.high.shape)))
        scales_after = scales * (before / grown)
        total = grown[:, -1]
        gain = gains[..., -1] / total[:, None]
        # Rounding of f = V'x is as if V had been another: like all that was lost before, it passes through the
        # observation as the row itself does. That of V and of the mean after the observation is added.
        mean, follow = contracted.high[..., 0], contracted.high[..., 1 : 1 + d]
        shifts = (np.abs(follow) @ self.shift_std) ** 2
        lost = self._rounded(_weighed(V.high, scales.high) + shifts, np.zeros(mean.shape))
        contracted[..., 1 + d :] = contracted[..., 1 + d :] + np.concatenate([lost[:, 0], lost[:, 1]], axis=-1)
        along = (contracted * x[:, :, None]).sum(-2)  # (k, 1 + 3 d)
        residual, v = value - along[:, 0], along[:, 1 : 1 + d]
        squares = (_parted(along[:, 1 + d :]) * x[:, None, :]).sum(-1)
        off = self._off(rows, squares.high + _cancelled(contracted.high[..., 1 + d :], size))
        along[:, 0] = -residual
        contracted = contracted - gain[:, :, None] * along[:, None, :]
        errors = _parted(contracted[..., 1 + d :])  # (k, d, 2, d)
        errors = errors - (errors * x[:, None, None, :]).sum(-1)[..., None] * gain[:, None, None, :]
        turned = np.abs(V_after.high) + np.abs(turn.high)[:, None, :] * _before(np.abs(V.high * g.high[:, None, :]))
        mean = contracted.high[..., 0]
        size = np.abs(value.high) + (size * np.abs(mean)).sum(-1)
        told = np.stack(np.broadcast_arrays(x_error, value_error, size)[:2], axis=-1) ** 2  # (k, 2)
        told[:, 1] += self._square * size * size + (_UNIT * residual.high) ** 2  # the noise's variance is rounded too
        lost = self._rounded(_weighed(turned, scales_after.high) + shifts, mean * mean)
        lost += told[..., None, None] * (gain.high[:, None, :, None] * gain.high[:, None, None, :])
        errors = errors + lost.swapaxes(1, 2)
        contracted[..., 1 + d :] = Twofold(*(part.reshape(*part.shape[:2], -1) for part in (errors.high, errors.low)))
        columns["moved"][rows] += residual.high * (residual.high / total.high)
        columns["count"][rows] += 1
        self._set("factor", rows, V_after)
        self._set("scales", rows, scales_after)
        self._set("contracted", rows, contracted)
        return Observation(v, residual, total, *off)

    def read(self, rows: IntArray, queries: Twofold) -> Readings:
        """Distributions of ``q' theta`` by one query a row: (k,) and (k, d)."""
        V, scales, contracted = (self._twofold(name, rows) for name in ("factor", "scales", "contracted"))
        mean, errors = contracted[..., 0], _parted(contracted[..., 1 + self.dim :])  # (k, d, 2, d)
        root = (V * queries[:, :, None]).sum(-2).high * np.sqrt(scales.high)
        own = self._rounded(_weighed(V.high, scales.high), mean.high * mean.high)  # rounding of this reading
        across = ((errors + own.swapaxes(1, 2)) * queries[:, None, None, :]).sum(-1) * queries[:, :, None]
        lost = _cancelled(contracted.high[..., 1 + self.dim :], np.abs(queries.high))
        std_error, mean_error = self._off(rows, across.sum(-2).high + lost)
        return Readings((mean * queries).sum(-1), root, mean_error, std_error)

    def _off(self, rows: IntArray, squares: Array) -> tuple[Array, Array]:
        """The most that rounding may have changed deviations and means, from the sums of squares along them, (k, 2)."""
        count, moved = self._columns["count"][rows], self._columns["moved"][rows]
        std_error, mean_error = np.sqrt(squares.clip(0.0) * count[:, None]).T
        return std_error, mean_error + std_error * np.sqrt(moved)

    def _rounded(self, variances: Array, squares: Array) -> Array:
        """Squares of the rounding of roots of variances and of means, (..., d) each to (..., 2, d, d)."""
        return np.asarray((self._square * np.stack([variances, squares], axis=-2))[..., None] * np.eye(self.dim))

    def follow(self, rows: IntArray, contexts: Array) -> Twofold:
        """``F'x``: how ``x' theta`` follows a shift of the prior's mean, one context a row, (k, d)."""
        return (self._twofold("contracted", rows)[..., 1 : 1 + self.dim] * contexts[:, :, None]).sum(-2)

    def moments(self, rows: IntArray) -> tuple[Array, Array, Array]:
        """Means (k, d), roots (k, d, d) of the covariances, and how means follow (k, d, d): each entry rounded once."""
        contracted = self._columns["contracted_high"][rows]
        roots = self._columns["factor_high"][rows] * np.sqrt(self._columns["scales_high"][rows])[:, None, :]
        return contracted[..., 0], roots, contracted[..., 1 : 1 + self.dim]

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return self._columns.state()

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self._columns.restore(state)


def refuse(mean: Array, std: Array, mean_error: Array, std_error: Array) -> None:
    """Raise ValueError where rounding may be off a reading by more than a millionth of its deviation.

    A mean may be off by the rounding of its float64 number too.
    """
    lost = (std_error > _ENOUGH * std) | (mean_error > _ENOUGH * std + 2 * _UNIT * np.abs(mean))
    if lost.any():
        raise ValueError(
            "context must be one along which 32 digits hold an action's posterior to a millionth of its deviation, got "
            "one along which rewards outweigh the prior, or contradict it, by too much: divide contexts by their "
            "scale, or state noise_std= and the prior in the rewards' units"
        )


def _shifted(cumulative: Twofold, first: Twofold) -> Twofold:
    """Sums of the numbers before each one, along the last axis: ``first`` (...) before the first."""
    high = np.concatenate([first.high[..., None], cumulative.high[..., :-1]], axis=-1)
    low = np.concatenate([first.low[..., None], cumulative.low[..., :-1]], axis=-1)
    return Twofold(high, low)


def _parted(errors: Twofold) -> Twofold:
    """Two matrices that stand side by side, (..., 2 d) to (..., 2, d)."""
    return Twofold(*(part.reshape(*part.shape[:-1], 2, -1) for part in (errors.high, errors.low)))


def _cancelled(errors: Array, size: Array) -> Array:
    """What twofold precision itself may lose of the errors' quadratic forms, (k, 2)."""
    across = (np.abs(errors) * size[:, :, None]).sum(1).reshape(len(size), 2, -1)
    return np.asarray(8 * EPS * (across * size[:, None, :]).sum(-1))


def _before(sizes: Array) -> Array:
    """Sums of the numbers before each one, along the last axis."""
    return np.cumsum(sizes, axis=-1) - sizes


def _weighed(factor: Array, scales: Array) -> Array:
    """Row by row the sum of squares of ``factor`` (k, d, d), weighed by ``scales`` (k, d): variances (k, d)."""
    return np.asarray(((factor * factor) @ scales[:, :, None])[:, :, 0])


def _factored(cov: Twofold) -> tuple[Twofold, Twofold]:
    """``V`` unit upper triangular (d, d) and ``D`` (d,) with ``V diag(D) V' = cov``, which may be singular."""
    d = len(cov.high)
    rest, least = cov.copy(), 1e4 * EPS * np.diagonal(cov.high)
    V, scales = Twofold(np.eye(d)), Twofold(np.zeros(d))
    for j in range(d - 1, -1, -1):
        if rest.high[j, j] <= least[j]:
            continue  # this entry follows from those after it
        scales[j] = rest[j, j]
        V[:j, j] = rest[:j, j] / rest[j, j]
        rest[:j, :j] = rest[:j, :j] - V[:j, j][:, None] * rest[:j, j][None, :]
    return V, scales
